"""The demonstration: a made-up re-use centre, backed up, damaged and brought back."""
