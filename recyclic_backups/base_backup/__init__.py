"""Base backups: the files of a whole server, from which the replay of WAL starts."""
