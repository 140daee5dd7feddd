"""Whole files to a bucket and from it: parts side by side, and the SHA-256 of all the bytes."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from llmcloud.runtime.bucket_api import PART_BYTES, part_bytes
from llmcloud.runtime.bucket_errors import PastEnd
from llmcloud.runtime.bucket_requests import PARALLEL_PARTS
from llmcloud.runtime.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmcloud.runtime.bucket_requests import Requests
    from llmcloud.runtime.objects import Piece


def send_file(requests: Requests, key: str, path: Path) -> str:
    """Write an object from a file and return the SHA-256 of the bytes sent."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= PART_BYTES:
            data = file.read()
            digest.update(data)
            requests.put(key, data)
        else:
            chunk = part_bytes(size)
            requests.put_parts(key, _hashed(file, digest, chunk), chunk)
    return digest.hexdigest()


def fetch_file(requests: Requests, key: str, path: Path) -> str:
    """Write one version of an object to a file and return its SHA-256; Conflict when it changes.

    Ranges are fetched side by side, and hashed in their order.
    """
    digest = hashlib.sha256()
    with path.open("wb") as out, ThreadPoolExecutor(PARALLEL_PARTS) as pool:
        first = _first(requests, key)
        fetch = functools.partial(_part, requests, key, first.version)
        starts = iter(range(PART_BYTES, first.size, PART_BYTES))
        coming = deque(pool.submit(fetch, s) for s in itertools.islice(starts, PARALLEL_PARTS))
        data = b"".join(first.chunks)
        while True:
            out.write(data)
            digest.update(data)
            if not coming:
                return digest.hexdigest()
            data = coming.popleft().result()
            coming.extend(pool.submit(fetch, s) for s in itertools.islice(starts, 1))


def _first(requests: Requests, key: str) -> Piece:
    try:
        return requests.range(key, 0, PART_BYTES)
    except PastEnd:  # it is empty
        return requests.range(key, 0, 0)


def _part(requests: Requests, key: str, version: str, start: int) -> bytes:
    try:
        return b"".join(requests.range(key, start, PART_BYTES, version).chunks)
    except PastEnd:
        raise Conflict("The object is no longer what it was.", where=key) from None


def _hashed(file: Any, digest: Any, size: int) -> Iterator[bytes]:
    while chunk := file.read(size):
        digest.update(chunk)
        yield chunk
