"""Restore a dump: beside what exists, compared, and only then under its name (invariant 6)."""
