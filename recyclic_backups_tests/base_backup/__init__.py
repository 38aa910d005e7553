"""Tests of base backups."""
