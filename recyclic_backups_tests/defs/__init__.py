"""Tests of the Dagster door."""
