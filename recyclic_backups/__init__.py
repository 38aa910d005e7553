"""PostgreSQL backups that count only once they have been restored and compared."""

__version__ = "0.1.0"
