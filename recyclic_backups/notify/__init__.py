"""Telling people: which problems there are, what to say about them, to whom, and that it arrived."""
