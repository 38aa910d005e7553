"""The Dagster door: a folder per capability. Only these modules and ``definitions`` import Dagster.

What is decided is decided in the house; here it is asked for, shown and scheduled.
"""
