"""Digests of files and trees, on which both sides of the wire must agree."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

READ_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def tree_digest(marks: Mapping[str, str]) -> str:
    """Return the digest of a tree: of what stands for each file, by their names.

    That is the SHA-256 where nothing but a file's bytes counts.
    """
    return hashlib.sha256(json.dumps(marks, sort_keys=True).encode()).hexdigest()


def file_mark(sha256: str, *, is_executable: bool) -> str:
    """Return what stands for a file where its mode counts, too."""
    return f"{'x' if is_executable else '-'} {sha256}"


def link_mark(target: str) -> str:
    """Return what stands for a symlink."""
    return f"> {target}"
