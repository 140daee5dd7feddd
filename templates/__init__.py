"""Starter jobs, each a folder that runs as it stands."""
