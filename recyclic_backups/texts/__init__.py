"""Sentences for people, English and French side by side."""
