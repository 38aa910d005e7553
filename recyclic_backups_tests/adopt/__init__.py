"""Backups of the old script become ours: recognized, dated, stored, restored."""
