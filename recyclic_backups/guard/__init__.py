"""A change under guard: a checkpoint before it, probes after it, and the way back if it went wrong."""
