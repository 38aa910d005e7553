"""Test vectors of the format, as data, and the script that made them."""
