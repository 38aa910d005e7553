"""Retention: what stays, what leaves, what is held, and what is said about it."""
