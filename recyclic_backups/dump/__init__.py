"""Logical backups: take one, verify it, label it."""
