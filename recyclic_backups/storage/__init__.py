"""Where backups are kept: one small protocol, and what implements it."""
