"""The audit log: one object per event, each naming the hash of the one before, kept beside the backups."""
