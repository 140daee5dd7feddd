"""Requests to a bucket through obstore, whose errors they raise as Failures.

obstore's synchronous calls only, as its asynchronous ones may abort the process at its end; a
call waits with the interpreter's lock released, but deaf to Ctrl-C where it is made in the main
thread, so bulk transfers make them in daemon threads (core/transfer).
"""

from __future__ import annotations

import contextlib
import functools
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import BaseError

from llmcloud.runtime.bucket_api import crc32c_in, crc32c_metadata
from llmcloud.runtime.bucket_errors import translate
from llmcloud.runtime.errors import NotFound, PermissionDenied, Throttled, Unavailable
from llmcloud.runtime.interruptible import begun, interruptible
from llmcloud.runtime.objects import Blob, Entry, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from obstore import GetOptions

    from llmcloud.runtime.bucket_api import BucketApi

RETRIES = 5  # of one small request; with obstore's backoff, some ten seconds
BACKOFF_S = 0.1  # obstore's
PAGE = 1000
CHUNK_BYTES = 1 << 20
ERRORS = (BaseError, FileNotFoundError, ValueError)
PARALLEL_PARTS = 4

Done = TypeVar("Done")


class Requests:
    """A connection to a bucket; obstore itself tries each request up to `max_retries` times more.

    Tags of objects are what a conditional write names.
    """

    def __init__(self, api: BucketApi, max_retries: int) -> None:
        self._api, self._max_retries = api, max_retries

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        with self._reading(key):
            return interruptible(lambda: self._blob(obstore.get(self._bucket, key)))

    def range(self, key: str, start: int, size: int, version: str = "") -> Piece:
        """Return `size` bytes from `start`, all for a `size` of 0; PastEnd where there are none."""
        options: GetOptions = {"range": (start, start + size)} if size else {}
        if version:
            options["if_match"] = version
        with self._reading(key):
            found = obstore.get(self._bucket, key, options=options)
            start, end = found.range
            if end - start <= CHUNK_BYTES:
                return _piece(found, iter([found.bytes()]))
        return _piece(found, self._streamed(key, found))

    def head(self, key: str) -> Entry:
        """Return what is known of an object."""
        with self._reading(key):
            return _entry(interruptible(lambda: obstore.head(self._bucket, key)))

    def metadata(self, key: str) -> tuple[str, dict[str, str]]:
        """Return an object's tag and what else is kept with it."""
        with self._reading(key):
            found = interruptible(lambda: obstore.get(self._bucket, key, options={"head": True}))
            return self._tag(found.meta), found.attributes

    def put(self, key: str, data: bytes | memoryview, **options: Any) -> str:
        """Write an object and return its tag; `options` are obstore's."""
        with self._translated(key):
            put = functools.partial(
                obstore.put, self._bucket, key, data, use_multipart=False, **options
            )
            return self._tag(interruptible(put))

    def put_parts(self, key: str, chunks: Iterator[bytes], size: int) -> None:
        """Write an object in parts of `size` bytes."""
        with self._translated(key):
            obstore.put(self._bucket, key, chunks, chunk_size=size, max_concurrency=PARALLEL_PARTS)

    def write(self, key: str, data: bytes | memoryview, crc32c: int) -> None:
        """Write an object with its digest."""
        kept = crc32c_metadata(crc32c)
        try:  # no context manager: this runs for each of a million small files
            made = obstore.put(self._bucket, key, data, use_multipart=False, attributes=kept)
        except ERRORS as error:
            raise translate(error, key, self._api) from error
        self._api.check_written(key, data, crc32c, made)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete at most a page of objects; some services stop with NotFound at an absent one."""
        with self._translated(keys[0]):
            interruptible(lambda: obstore.delete(self._bucket, keys))

    def folders(self, prefix: str) -> list[str]:
        """Return the prefixes one level below a prefix that ends in `/`."""
        with self._translated(prefix):
            found = interruptible(lambda: obstore.list_with_delimiter(self._bucket, prefix or None))
            return list(found["common_prefixes"])

    def pages(self, folder: str, start_after: str, size: int = PAGE) -> Iterator[list[Entry]]:
        """Yield a listing page by page; some services pass over `start_after`."""
        with self._translated(folder):
            found = obstore.list(
                self._bucket, folder or None, offset=start_after or None, chunk_size=size
            )
            coming = begun(lambda: next(found, None))
            while page := coming.result():
                coming = begun(lambda: next(found, None))  # while this one is looked through
                yield [_entry(each) for each in page]

    @cached_property
    def _bucket(self) -> Any:
        return self._api.connect(self._max_retries)

    def _streamed(self, key: str, found: Any) -> Iterator[Any]:
        """Yield a body as it comes: memory that is used again is faster than that of a part."""
        with self._translated(key):
            yield from found.stream(min_chunk_size=CHUNK_BYTES)

    def _blob(self, found: Any) -> Blob:
        return Blob(bytes(found.bytes()), self._tag(found.meta))

    def _tag(self, meta: Any) -> str:
        return str(meta[self._api.condition])

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """As `_translated`; what is denied may just not be there, which a listing tells."""
        try:
            with self._translated(key):
                yield
        except PermissionDenied as failure:
            if self._api.hides_absent and not self._is_listed(key):
                raise NotFound("There is no such object.", where=failure.where) from None
            raise

    def _is_listed(self, key: str) -> bool:
        """Tell whether a key is in its folder's listing, or may be: it can't be looked at."""
        try:
            page = next(self.pages(key.rpartition("/")[0], key[:-1], 1), ())
        except PermissionDenied:
            return True
        return any(each.key == key for each in page)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            raise translate(error, key, self._api) from error


def insist(request: Callable[[], Done]) -> Done:
    """Make a request until it is answered.

    obstore does so itself for those that it takes for safe to repeat, while no answer has begun:
    not for conditional writes, deletions of many, and listings.
    """
    for number in range(RETRIES):
        try:
            return request()
        except (Throttled, Unavailable):
            pause(number)
    return request()


def pause(number: int) -> None:
    """Wait before the next try: each time twice as long."""
    time.sleep(BACKOFF_S * 2**number)


def _entry(meta: Any) -> Entry:
    return Entry(meta["path"], meta["size"], meta["last_modified"].timestamp(), _quoted(meta))


def _piece(found: Any, chunks: Iterator[Any]) -> Piece:
    meta = found.meta
    return Piece(chunks, meta["size"], _quoted(meta), crc32c_in(found.attributes))


def _quoted(meta: Any) -> str:
    """Return the tag in its quotes, without which Azure lists what it asks for with them."""
    tag = str(meta["e_tag"] or "")
    return f'"{tag}"' if tag and tag[-1] != '"' else tag
