"""Tests of recyclic_backups.postgres."""
