"""Tests of recyclic_backups.envelope."""
