"""Which names from elsewhere may become files here."""

from __future__ import annotations

import re

_DRIVE = re.compile(r"^[A-Za-z]:")


def is_safe(name: str) -> bool:
    """Tell whether a name, on any system, stays in the folder it is put in."""
    parts = name.split("/")
    return (
        not any(part in {"", ".", ".."} for part in parts)
        and not any(ord(letter) < 32 or letter == "\\" for letter in name)
        and not _DRIVE.match(name)
        and _is_encodable(name)
    )


def _is_encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
