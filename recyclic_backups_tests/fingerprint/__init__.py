"""Tests of the fingerprint package."""
