"""Dagster's history, made equal to the storage, and rid of runs that nobody reads again."""
