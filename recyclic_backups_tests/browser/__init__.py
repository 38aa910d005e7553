"""What people see: Dagster's pages of a real installation, in a real browser. Run by ``make test-browser``."""
