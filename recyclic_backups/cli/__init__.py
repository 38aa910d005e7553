"""The command line: one of the two front doors. It never imports Dagster."""
