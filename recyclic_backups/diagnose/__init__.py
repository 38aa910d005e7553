"""Find damage and losses in a live database, and say which commands repair them. Nothing is written."""
