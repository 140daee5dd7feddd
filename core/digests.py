"""Digests of many files of this machine at once."""

from __future__ import annotations

import functools
import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from llmcloud.core.transfer.crc32c import crc32c
from llmcloud.core.transfer.pool import Pool
from llmcloud.runtime.digests import READ_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmcloud.core.ignore import WalkEntry

THREADS = 8
BATCH_BYTES = 4 << 20  # what one thread takes: handing over costs as much as a small file
BATCH_FILES = 64


class Digests(NamedTuple):
    """What a file's bytes are told by: to everybody, and while they are sent."""

    sha256: str
    crc32c: int


def digests(entries: Iterable[WalkEntry]) -> dict[str, Digests]:
    """Return the digests of files by their names; OSError for one that can't be read."""
    found: dict[str, Digests] = {}

    def look(batch: list[WalkEntry]) -> None:
        for entry in batch:
            found[entry.name] = _digests_of(entry.file)

    pool = Pool(min(os.cpu_count() or 1, THREADS))
    with pool.running():
        for batch in _batches(entries):
            pool.add(functools.partial(look, batch))
    return found


def _batches(entries: Iterable[WalkEntry]) -> Iterator[list[WalkEntry]]:
    batch: list[WalkEntry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.stat.st_size
        if size >= BATCH_BYTES or len(batch) == BATCH_FILES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _digests_of(path: str) -> Digests:
    sha256, crc = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - this runs once a file
        while chunk := file.read(READ_BYTES):
            sha256.update(chunk)
            crc = crc32c(chunk, crc)
    return Digests(sha256.hexdigest(), crc)
