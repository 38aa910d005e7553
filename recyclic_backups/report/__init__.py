"""The report: everything about the backups of a database at one moment, as figures and as one page."""
