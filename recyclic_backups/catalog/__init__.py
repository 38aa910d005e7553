"""The catalog: one backup's manifest, all of them together, and what is written beside them."""
