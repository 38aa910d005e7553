"""Coverage-guided fuzzing of everything that reads bytes we may not have written."""
