"""Alerts: the sensor that tells people."""
