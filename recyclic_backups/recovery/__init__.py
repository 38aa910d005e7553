"""Recovery: a base backup and WAL, replayed to a moment."""
