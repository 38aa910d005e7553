"""The settings: declared once (``settings``), read from the environment (``load``), described (``pages``)."""
