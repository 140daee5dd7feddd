"""An object whose bytes, and so whose size, become known only while it is being sent."""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import TYPE_CHECKING, cast

from llmcloud.core.transfer.crc32c import combined, crc32c, crc32c_of
from llmcloud.core.transfer.pool import Pool
from llmcloud.core.transfer.retry import tried
from llmcloud.runtime.bucket_api import part_bytes
from llmcloud.runtime.errors import Conflict, Failure, NotFound
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmcloud.runtime.bucket import BucketStore
    from llmcloud.runtime.bucket_api import PartUpload
    from llmcloud.runtime.objects import ObjectStore

THREADS = 2  # with what waits for them, some seven parts are in memory


def send(
    store: ObjectStore, key: str, chunks: Callable[[], Iterable[bytes]], size_max: int
) -> None:
    """Write an object of at most `size_max` bytes piece by piece, whole or not at all.

    What `chunks` raises ends it. A service that wants a digest first makes them twice.
    """
    if isinstance(store, FileStore):
        store.put_stream(key, chunks())
        return
    bucket = cast("BucketStore", store)
    parts = _parts(chunks(), part_bytes(size_max))
    begun = list(itertools.islice(parts, 2))
    if len(begun) < 2:
        data = b"".join(begun)
        tried(Pool(1), functools.partial(bucket.write, key, data, crc32c(data)))
        return
    begin = functools.partial(bucket.api.begin, key, size_max, lambda: crc32c_of(chunks()))
    upload = tried(Pool(1), begin)
    try:
        _send_parts(upload, _chained(begun, parts))
    except NotFound:
        if not bucket.exists(key):
            raise
        # Another submit of the same was faster, and removed ours.
    except Conflict:  # the object is there, but of other bytes
        bucket.delete(key)
        raise
    except BaseException:
        with contextlib.suppress(Failure):
            upload.abort()
        raise
    _abort_others(bucket, key)


def _send_parts(upload: PartUpload, parts: Iterator[bytes]) -> None:
    digests = []
    pool = Pool(THREADS)
    with pool.running():
        for number, part in enumerate(parts, 1):
            digest = crc32c(part)
            digests.append((digest, len(part)))
            put = functools.partial(upload.put, number, part, digest)
            pool.add(functools.partial(tried, pool, put))
    tried(Pool(1), functools.partial(upload.complete, len(digests), combined(digests)))


def _abort_others(bucket: BucketStore, key: str) -> None:
    """Free what sends of this key that were cut off have left at the service."""
    for upload in bucket.api.unfinished_of(key):
        upload.abort()


def _parts(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in parts of `size`, but for the last."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield bytes(memoryview(held)[:size])
            del held[:size]
    if held:
        yield bytes(held)


def _chained(begun: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    """Yield them all, and keep none."""
    while begun:
        yield begun.pop(0)
    yield from rest
