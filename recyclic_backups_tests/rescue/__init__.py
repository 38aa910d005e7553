"""Tests of recyclic_backups.rescue."""
