"""Tests of the archive of WAL."""
