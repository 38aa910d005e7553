"""Retention: what stays and why (pure), what leaves, and what is held."""
