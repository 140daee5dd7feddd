"""A bucket as an object store: S3, GCS and Azure Blob alike, through obstore.

obstore's synchronous calls only, as its asynchronous ones may abort the process at its end; a
call waits with the interpreter's lock released, but deaf to Ctrl-C where it is made in the main
thread, so bulk transfers make them in daemon threads (core/transfer).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import time
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import BaseError

from llmcloud.runtime import layout
from llmcloud.runtime.bucket_api import LOG_TAG, PART_BYTES, part_bytes
from llmcloud.runtime.bucket_errors import PastEnd, gone, translate
from llmcloud.runtime.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    StoreGone,
    Throttled,
    Unavailable,
)
from llmcloud.runtime.interruptible import interruptible
from llmcloud.runtime.objects import Blob, Entry, ObjectStore, Piece, check_key, check_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from obstore import GetOptions

    from llmcloud.runtime.bucket_api import BucketApi

RETRIES = 5  # of one small request; with obstore's backoff, some ten seconds
BACKOFF_S = 0.1  # obstore's
PAGE = 1000
CHUNK_BYTES = 1 << 20
ERRORS = (BaseError, FileNotFoundError, ValueError)
PARALLEL_PARTS = 4
CRC32C = "crc32c"  # metadata: Azure allows letters and digits only
WRITE = "llmcloudwrite"

Done = TypeVar("Done")


class BucketStore(ObjectStore):
    """Objects in a bucket; the vendor's own SDK does what obstore can't, through `api`."""

    def __init__(self, api: BucketApi) -> None:
        self.api = api
        self.url = api.url
        self._may_tag = True

    @cached_property
    def _store(self) -> Any:
        return self.api.connect(RETRIES)

    @cached_property
    def _once(self) -> Any:
        """A connection that tries nothing again: who moves bulk wants to know and slow down."""
        return self.api.connect(0)

    def check(self, key: str) -> None:
        """Raise InvalidRequest for a key that this bucket can't hold, or no store can."""
        check_key(key)
        if why := self.api.refuses(key):
            raise InvalidRequest(why, where=self.url)

    def create(self) -> None:
        self.api.create()

    def is_there(self) -> bool:
        try:
            _insist(lambda: next(self._pages("", "", 1), None))
        except StoreGone:
            return False
        return True

    def get(self, key: str) -> Blob:
        self.check(key)
        with self._translated(key):
            return interruptible(lambda: self._blob(obstore.get(self._store, key)))

    def read(self, key: str, start: int, size: int) -> bytes:
        self.check(key)
        if not size:
            return b""
        try:
            return b"".join(self._range(self._store, key, start, size, "").chunks)
        except PastEnd:
            return b""
        except Unavailable:  # Azurite answers with nothing, which obstore takes ill
            if self.head(key).size <= start:
                return b""
            raise

    def piece(self, key: str, start: int, size: int, version: str = "") -> Piece:
        self.check(key)
        try:
            return self._range(self._once, key, start, size, version)
        except PastEnd:
            raise Conflict("The object is no longer what was listed.", where=key) from None

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        self.check(key)
        if not if_absent and if_match is None:
            return self._put_tagged(key, data)
        mode = "create" if if_absent else {self.api.condition: if_match}
        mark = uuid.uuid4().hex
        marked = {WRITE: mark}
        try:
            return _insist(lambda: self._put(self._once, key, data, mode=mode, attributes=marked))
        except (Conflict, NotFound):
            # A request that was tried again may have lost against itself.
            with contextlib.suppress(NotFound):
                if (tag := self._written(key, mark)) is not None:
                    return tag
            raise Conflict("The object is no longer what was read.", where=key) from None

    def write(self, key: str, data: bytes | memoryview, crc32c: int) -> None:
        """Write a whole object with its digest, tried once."""
        self.check(key)
        kept = {CRC32C: f"{crc32c:08x}"}
        try:
            made = obstore.put(self._once, key, data, use_multipart=False, attributes=kept)
        except ERRORS as error:
            raise translate(error, key, self.api) from error
        self.api.check_written(key, data, crc32c, made)

    def put_file(self, key: str, path: Path) -> str:
        self.check(key)
        digest = hashlib.sha256()
        with path.open("rb") as file, self._translated(key):
            size = os.fstat(file.fileno()).st_size
            if size <= PART_BYTES:
                data = file.read()
                digest.update(data)
                obstore.put(self._store, key, data, use_multipart=False)
            else:
                chunk = part_bytes(size)
                parts = _hashed(file, digest, chunk)
                obstore.put(
                    self._store, key, parts, chunk_size=chunk, max_concurrency=PARALLEL_PARTS
                )
        return digest.hexdigest()

    def get_file(self, key: str, path: Path) -> str:
        self.check(key)
        for _ in range(10):
            with contextlib.suppress(Conflict):  # another version: begin again
                return self._get_version(key, path)
        raise Unavailable("The object changes again and again.", where=f"{self.url}, {key}")

    def head(self, key: str) -> Entry:
        self.check(key)
        try:
            with self._translated(key):
                return _entry(interruptible(lambda: obstore.head(self._store, key)))
        except NotFound:
            self._expect_there()  # the answer to HEAD has no body to say it
            raise

    def crc32c(self, key: str) -> int | None:
        self.check(key)
        with self._translated(key):
            found = obstore.get(self._once, key, options={"head": True})
        kept = _piece(found, iter(())).crc32c
        return self.api.crc32c(key) if kept is None else kept

    def objects(self, prefix: str = "", *, start_after: str = "") -> Iterator[Entry]:
        check_prefix(prefix)
        if self.api.is_ordered:
            return self._under(prefix, start_after)
        found = _insist(lambda: sorted(self._under(prefix, start_after), key=lambda each: each.key))
        return iter(found)

    def folders(self, prefix: str) -> list[str]:
        check_prefix(prefix)
        if prefix and not prefix.endswith("/"):
            raise InvalidRequest(f"{prefix!r} names no folder: it does not end in `/`.")
        found = _insist(lambda: self._folders(prefix))
        return sorted(each.rstrip("/").rpartition("/")[2] for each in found["common_prefixes"])

    def delete(self, key: str) -> None:
        self.check(key)
        self.delete_all([key])

    def delete_all(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        for start in range(0, len(keys), PAGE):
            batch = keys[start : start + PAGE]
            try:
                _insist(functools.partial(self._delete, batch))
            except NotFound:  # GCS and Azure stop at an absent one
                self._expect_there()
                for key in batch:
                    self._delete_one(key)

    def _delete_one(self, key: str) -> None:
        with contextlib.suppress(NotFound):
            _insist(lambda: self._delete([key]))

    def _delete(self, keys: list[str]) -> None:
        with self._translated(keys[0]):
            interruptible(lambda: obstore.delete(self._once, keys))

    def _expect_there(self) -> None:
        if not self.is_there():
            raise gone(self.url)

    def _put_tagged(self, key: str, data: bytes) -> str:
        """Write an object, with the tag that lets a bucket expire it if it is a piece of a log."""
        if self.api.has_tags and self._may_tag and layout.is_log(key):
            with contextlib.suppress(PermissionDenied, InvalidRequest):
                return self._put(self._store, key, data, tags=LOG_TAG)
            self._may_tag = False  # it needs a permission of its own, and not all accounts can
        return self._put(self._store, key, data)

    def _put(self, store: Any, key: str, data: bytes | memoryview, **options: Any) -> str:
        with self._translated(key):
            put = functools.partial(obstore.put, store, key, data, use_multipart=False, **options)
            return self._tag(interruptible(put))

    def _written(self, key: str, mark: str) -> str | None:
        """Return the tag of the object if it is the one that was written with this mark."""
        with self._translated(key):
            found = obstore.get(self._store, key, options={"head": True})
        return self._tag(found.meta) if found.attributes.get(WRITE) == mark else None

    def _range(self, store: Any, key: str, start: int, size: int, version: str) -> Piece:
        options: GetOptions = {"range": (start, start + size)} if size else {}
        if version:
            options["if_match"] = version
        with self._translated(key):
            found = obstore.get(store, key, options=options)
            start, end = found.range
            if end - start <= CHUNK_BYTES:
                return _piece(found, iter([found.bytes()]))
        return _piece(found, self._streamed(key, found))

    def _streamed(self, key: str, found: Any) -> Iterator[Any]:
        """Yield a body as it comes: memory that is used again is faster than that of a part."""
        with self._translated(key):
            yield from found.stream(min_chunk_size=CHUNK_BYTES)

    def _get_version(self, key: str, path: Path) -> str:
        """Fetch ranges of one version side by side, and hash them in their order."""
        digest = hashlib.sha256()
        with path.open("wb") as out, ThreadPoolExecutor(PARALLEL_PARTS) as pool:
            first = self._first(key)
            version, size = first.entry.version, first.entry.size
            fetch = functools.partial(self._part, key, version)
            starts = iter(range(PART_BYTES, size, PART_BYTES))
            coming = deque(pool.submit(fetch, s) for s in itertools.islice(starts, PARALLEL_PARTS))
            data = b"".join(first.chunks)
            while True:
                out.write(data)
                digest.update(data)
                if not coming:
                    return digest.hexdigest()
                data = coming.popleft().result()
                coming.extend(pool.submit(fetch, s) for s in itertools.islice(starts, 1))

    def _first(self, key: str) -> Piece:
        try:
            return self._range(self._store, key, 0, PART_BYTES, "")
        except PastEnd:  # it is empty
            return self._range(self._store, key, 0, 0, "")

    def _part(self, key: str, version: str, start: int) -> Any:
        try:
            return b"".join(self._range(self._store, key, start, PART_BYTES, version).chunks)
        except PastEnd:
            raise Conflict("The object is no longer what it was.", where=key) from None

    def _under(self, prefix: str, start_after: str) -> Iterator[Entry]:
        folder, _, rest = prefix.rpartition("/")
        found = self._listing(folder, start_after, PAGE)
        if rest:  # obstore knows folders only
            found = (entry for entry in found if entry.key.startswith(prefix))
        return found

    def _listing(self, folder: str, start_after: str, page: int) -> Iterator[Entry]:
        """Yield what a folder holds; where obstore gives up, as an answer broke off, go on."""
        tries = 0
        while True:
            try:
                for chunk in self._pages(folder, start_after, page):
                    found = [_entry(each) for each in chunk]
                    if start_after:  # which some services pass over
                        found = [each for each in found if each.key > start_after]
                    yield from found
                    if self.api.is_ordered:
                        start_after, tries = chunk[-1]["path"], 0
            except (Throttled, Unavailable):
                if tries == RETRIES or not self.api.is_ordered:
                    raise
                time.sleep(BACKOFF_S * 2**tries)
                tries += 1
            else:
                return

    def _folders(self, prefix: str) -> Any:
        with self._translated(prefix):
            return interruptible(lambda: obstore.list_with_delimiter(self._once, prefix or None))

    def _pages(self, folder: str, start_after: str, page: int) -> Iterator[Any]:
        with self._translated(folder):
            found = obstore.list(
                self._once, folder or None, offset=start_after or None, chunk_size=page
            )
            while chunk := interruptible(lambda: next(found, None)):
                yield chunk

    def _blob(self, found: Any) -> Blob:
        return Blob(bytes(found.bytes()), self._tag(found.meta))

    def _tag(self, meta: Any) -> str:
        return str(meta[self.api.condition])

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            raise translate(error, key, self.api) from error


def _insist(request: Callable[[], Done]) -> Done:
    """Make a request until it is answered.

    obstore does so itself for those that it takes for safe to repeat, while no answer has begun:
    not for conditional writes, deletions of many, and listings.
    """
    for number in range(RETRIES):
        try:
            return request()
        except (Throttled, Unavailable):
            time.sleep(BACKOFF_S * 2**number)
    return request()


def _entry(meta: Any) -> Entry:
    tag = meta["e_tag"] or ""
    if tag and tag[-1] != '"':  # Azure lists them without the quotes that it asks for
        tag = f'"{tag}"'
    return Entry(meta["path"], meta["size"], meta["last_modified"].timestamp(), tag)


def _piece(found: Any, chunks: Iterator[Any]) -> Piece:
    kept = found.attributes.get(CRC32C)
    return Piece(chunks, _entry(found.meta), int(kept, 16) if kept else None)


def _hashed(file: Any, digest: Any, size: int) -> Iterator[bytes]:
    while chunk := file.read(size):
        digest.update(chunk)
        yield chunk
