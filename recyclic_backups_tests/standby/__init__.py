"""Hot standbys as the source of backups."""
