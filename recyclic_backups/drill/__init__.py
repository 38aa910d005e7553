"""Restore drills: the backup is brought back somewhere it can do no harm, compared, and asked the user's questions."""
