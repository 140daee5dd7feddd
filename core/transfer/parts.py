"""One large item moved in parts, by several threads at once."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

from llmcloud.core.transfer.crc32c import combined, crc32c_of
from llmcloud.core.transfer.errors import Damaged
from llmcloud.core.transfer.route import LARGE
from llmcloud.runtime.bucket_api import part_bytes, part_count
from llmcloud.runtime.digests import READ_BYTES
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.core.transfer.route import Route
    from llmcloud.core.transfer.sides import Item, Reader, Sink


def add_parts(route: Route, item: Item, doubt: Item | None) -> None:
    """Have an item moved in parts, unless its digest is that of `doubt`, which is there already."""
    parts = _Parts(route, item, doubt)
    for number in range(1, parts.count + 1):
        route.pool.add(functools.partial(parts.move, number), LARGE)


class _Over(Exception):
    """There is nothing to do for a part: the item failed, or proved to be unchanged."""


class _Parts:
    """An item on its way, and what the threads that move its parts share."""

    _reader: Reader  # both once it is open
    _sink: Sink

    def __init__(self, route: Route, item: Item, doubt: Item | None) -> None:
        self._route, self._item, self._doubt = route, item, doubt
        self._part_bytes = part_bytes(item.size)
        self.count = self._left = part_count(item.size)
        self._is_open = self._is_over = False
        self._kept: int | None = None
        self._digests: dict[int, int] = {}
        self._ends = contextlib.ExitStack()
        self._lock = threading.Lock()

    def move(self, number: int) -> None:
        """Move one part; the first opens the item on both sides, the last completes it."""
        try:
            with self._route.noting(self._item):
                self._open()
                with self._failing():
                    self._pass_on(number)
        except _Over:
            pass
        finally:
            if self._count_down():
                self._close()

    def _open(self) -> None:
        """Open both sides, once; _Over when there is nothing (more) to move."""
        with self._lock:
            if self._is_over:
                raise _Over
            if self._is_open:
                return
            self._is_over = True  # until all of this went well
            if self._doubt and self._route.is_equal(self._item, self._doubt):
                self._route.meter.forget(self._item.size)
                raise _Over
            self._route.open_ends.add(self._ends)
            self._reader = self._route.source.open(self._item)
            self._ends.callback(self._reader.close)
            self._begin()
            self._is_open, self._is_over = True, False

    def _begin(self) -> None:
        item, target = self._item, self._route.target
        self._sink = self._route.tried(lambda: target.begin(item, self._whole_crc32c))
        self._ends.callback(self._sink.close)

    def _whole_crc32c(self) -> int:
        size = self._item.size
        starts = range(0, size, READ_BYTES)
        return crc32c_of(self._reader.read(at, min(READ_BYTES, size - at)) for at in starts)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Let the first failure out; it is the end of all parts."""
        try:
            yield
        except BaseException as failure:
            with self._lock:
                was_over, self._is_over = self._is_over, True
            if was_over:
                raise _Over from failure
            raise

    def _pass_on(self, number: int) -> None:
        start, size = self._range(number)
        digest = self._sink.held(number, size, lambda: self._read(start, size))
        if digest is None:
            self._route.wait_turn(size)
            digest = self._route.tried(lambda: self._put(number, start, size))
        else:
            self._route.meter.add(size)
        self._digests[number] = digest
        if number == 1:  # now, since asking takes a while, in which others bring the rest
            self._kept = self._kept_crc32c()

    def _put(self, number: int, start: int, size: int) -> int:
        with self._route.meter.part(size) as count:
            chunks = self._reader.chunks(start, size)
            return self._sink.put(
                number, _counted(chunks, count) if self._sink.is_streamed else chunks
            )

    def _read(self, start: int, size: int) -> Any:
        return self._route.tried(lambda: self._reader.read(start, size))

    def _kept_crc32c(self) -> int | None:
        """Return the digest that is kept with the source; None where there is none."""
        item = self._item
        if self._reader.crc32c is not None or not item.version or item.sha256:
            return self._reader.crc32c
        return self._route.tried(lambda: self._route.source.crc32c(item))

    def _count_down(self) -> bool:
        """Count a part that is done with; tells whether it was the last."""
        with self._lock:
            self._left -= 1
            return not self._left

    def _close(self) -> None:
        self._route.open_ends.discard(self._ends)
        with self._ends, self._route.noting(self._item):
            if not self._is_over:
                self._complete()

    def _complete(self) -> None:
        """Make the item appear; one that came garbled is moved once more."""
        try:
            self._finish()
        except Damaged:
            self._begin()
            for number in range(1, self.count + 1):
                self._route.meter.add(-self._range(number)[1])
                self._pass_on(number)
            self._finish()
        self._route.tell(self._item, 0)

    def _finish(self) -> None:
        try:
            self._appear(self._checked())
        except Damaged:
            self._sink.abort()  # none of its parts can be trusted
            raise

    def _checked(self) -> int:
        """Return the digest of all parts if it is the one that is kept with the source."""
        self._reader.check()
        numbers = range(1, self.count + 1)
        digest = combined((self._digests[n], self._range(n)[1]) for n in numbers)
        if self._kept is not None and self._kept != digest:
            raise Damaged("Its bytes are not those that were saved: the digest differs.")
        return digest

    def _appear(self, digest: int) -> None:
        try:
            self._route.tried(lambda: self._sink.complete(digest))
        except NotFound:  # a request that was tried again may have done it the first time
            if self._route.tried(lambda: self._route.target.crc32c(self._item)) != digest:
                raise

    def _range(self, number: int) -> tuple[int, int]:
        """Return start and size of a part."""
        start = (number - 1) * self._part_bytes
        return start, min(self._part_bytes, self._item.size - start)


def _counted(chunks: Iterator[Any], count: Callable[[int], None]) -> Iterator[Any]:
    for data in chunks:
        yield data
        count(len(data))
