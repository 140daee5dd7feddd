"""Which URLs a service can be reached at."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_endpoint(url: str) -> bool:
    """Tell whether this is a whole http or https URL, of a host and at most a port and a path."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a ValueError when it is none
    except ValueError:
        return False
    clean = url.isascii() and url.isprintable() and not set(url) & set(' "<>\\^`{|}?#@')
    return clean and parts.scheme in {"http", "https"} and bool(parts.hostname)
