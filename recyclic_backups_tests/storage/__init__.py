"""Tests of the storages: one contract for all, and what is particular to each."""
