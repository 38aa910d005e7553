"""Health: what one may ask of backups, and whether the answer is good enough."""
