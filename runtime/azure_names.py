"""What Azure Blob makes of names: for the command line and for nodes alike."""

from __future__ import annotations

import re

# Azure takes `\` for `/`, forbids control characters, and advises against a dot before a slash or
# at the end, which URL libraries drop: learn.microsoft.com, "Naming and referencing containers,
# blobs, and metadata". The last two of XML's forbidden characters can't be listed.
_REFUSED = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ufffe\uffff]|\.(?:/|\Z)")


def refusal(key: str) -> str:
    """Say why Azure would not keep an object under just this key, or nothing."""
    found = _REFUSED.search(key)
    if not found:
        return ""
    if found[0].startswith("."):
        return f"{key!r} can't be a key on Azure: a part of it ends in a dot."
    if found[0] == "\\":
        return f"{key!r} can't be a key on Azure, which takes a backslash for a slash."
    return f"{key!r} can't be a key on Azure: it has a control character."
