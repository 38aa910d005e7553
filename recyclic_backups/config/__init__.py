"""The settings: declared once in ``settings``, parsed as ``values`` says, read from the environment by ``load``."""
