"""The Dagster door: one file per capability. Only these modules and ``definitions`` import Dagster.

What is decided is decided in the house; here it is asked for, shown and scheduled.
"""
