"""One job file; any cloud."""

__version__ = "0.1.0"
