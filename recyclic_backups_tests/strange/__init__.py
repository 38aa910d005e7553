"""Strange databases: whatever PostgreSQL allows must come back from a backup as it was."""
