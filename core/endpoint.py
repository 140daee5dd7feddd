"""How the SDKs reach their services: where, whom they trust there, and how long they wait."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from llmcloud.runtime.errors import InvalidRequest

CONNECTIONS = 64
CONNECT_S, READ_S = 10, 60
SEND_S = 300  # without TLS a whole part is one send, and the SDKs have no other bound for it


def is_endpoint(url: str) -> bool:
    """Tell whether this is a whole http or https URL, of a host and at most a port and a path."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a ValueError when it is none
    except ValueError:
        return False
    clean = url.isascii() and url.isprintable() and not set(url) & set(' "<>\\^`{|}?#@')
    return clean and parts.scheme in {"http", "https"} and bool(parts.hostname)


def is_safe(url: str) -> bool:
    """Tell whether nobody reads along on the way to an endpoint: https, or this machine."""
    if not is_endpoint(url):
        return False
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def certificates(named: str, variable: str) -> bytes | None:
    """Return the PEM file that a variable names, if it names one; InvalidRequest for a bad name."""
    if not named:
        return None
    try:
        return Path(named).expanduser().read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"The file of certificates can't be read: {error.strerror}.",
            where=named,
            fix=f"Set {variable} to a PEM file, or unset it.",
        ) from error
