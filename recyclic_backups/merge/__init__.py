"""Put tables of a backup back into a live database: all of them, or nothing."""
