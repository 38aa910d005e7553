"""Tests of recyclic_backups.demo."""
