"""Moves items from a source to a target: many at once, large ones in parts, each try bounded."""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from llmcloud.core.transfer.crc32c import combined, crc32c
from llmcloud.core.transfer.errors import FATAL, PASSING, Damaged
from llmcloud.core.transfer.meter import Meter, RateLimit
from llmcloud.core.transfer.pool import Pool, Stopped
from llmcloud.runtime.bucket_api import part_bytes
from llmcloud.runtime.errors import Failure, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmcloud.core.transfer.sides import Item, Reader, Sink, Source, Target

# Many threads for small items, whose time goes into waiting; few for what fills memory.
SMALL, LARGE = 0, 1
THREADS = (16, 6)
SMALL_BYTES = 1 << 20
BATCH = 16  # small items that one thread moves in a row: handing over costs as much as sending
TRIES = 8
GARBLED_TRIES = 3
BACKOFF_S = 0.2
BACKOFF_MAX_S = 20.0
READ_BYTES = 1 << 20

Done = TypeVar("Done")


@dataclass(frozen=True)
class Events:
    """Who is told of each item, from any thread, one at a time."""

    moved: Callable[[Item], None] | None = None
    failed: Callable[[str, str], None] = lambda *_: None


@dataclass
class Mover:
    """Moves what it is given; a failure of one item stops no other. Use it as `with …running()`."""

    source: Source
    target: Target
    meter: Meter
    rate: RateLimit = field(default_factory=RateLimit)
    events: Events = field(default_factory=Events)
    failed: dict[str, Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pool = Pool(*THREADS)
        self._lock = threading.Lock()
        self._batch: list[tuple[Item, Item | None]] = []

    @contextlib.contextmanager
    def running(self) -> Any:
        """Move what is added meanwhile; raises what stopped all of it."""
        with self.pool.running():
            yield self
            self._flush()

    def add(self, item: Item, doubt: Item | None = None) -> None:
        """Move an item, unless its digest is that of `doubt`, which is there already."""
        self.meter.plan(item.size)
        if item.size > self.target.whole_bytes:
            self._add_parts(item, doubt)
        elif item.size > SMALL_BYTES:
            self.pool.add(functools.partial(self._move_batch, [(item, doubt)]), LARGE)
        else:
            self._batch.append((item, doubt))
            if len(self._batch) >= BATCH:
                self._flush()

    def note(self, name: str, failure: Failure) -> None:
        """Remember that an item could not be moved."""
        with self._lock:
            self.failed[name] = failure
            self.events.failed(name, failure.what)

    def _flush(self) -> None:
        if self._batch:
            self.pool.add(functools.partial(self._move_batch, self._batch), SMALL)
            self._batch = []

    def _add_parts(self, item: Item, doubt: Item | None) -> None:
        large = _Large(item, doubt)
        for number in range(1, large.count + 1):
            self.pool.add(functools.partial(self._move_part, large, number), LARGE)

    def _move_batch(self, batch: Sequence[tuple[Item, Item | None]]) -> None:
        for item, doubt in batch:
            with self._noting(item):
                if doubt and self._is_equal(item, doubt):
                    self.meter.forget(item.size)
                else:
                    self._move_small(item)

    def _move_small(self, item: Item) -> None:
        self.rate.take(item.size, self.pool.stopped)
        try:
            self._try(functools.partial(self._copy, item))
        except NotFound:
            if item.size:
                raise
            self.meter.forget(0)  # consoles make `folder/` objects, which are listed as `folder`
        else:
            self._tell(item, item.size)

    def _copy(self, item: Item) -> None:
        reader = self.source.open(item)
        try:
            data = reader.read(0, item.size)
            reader.check()
        finally:
            reader.close()
        digest = crc32c(data)
        if reader.crc32c is not None and reader.crc32c != digest:
            raise _Garbled
        self.target.write(item, data, digest)

    def _move_part(self, large: _Large, number: int) -> None:
        """Move one part; the first opens the item on both sides, the last completes it."""
        try:
            with self._noting(large.item), large.failing():
                self._open(large)
                self._pass_on(large, number)
        except _Over:
            pass
        finally:
            if large.count_down():
                self._close(large)

    def _open(self, large: _Large) -> None:
        """Open both sides, once; _Over when there is nothing (more) to move."""
        with large.opening:
            if large.is_over or (large.reader and not large.sink):  # to open it has failed
                raise _Over
            if large.reader is not None:
                return
            if large.doubt and self._is_equal(large.item, large.doubt):
                self.meter.forget(large.item.size)
                large.is_over = True
                raise _Over
            large.reader = self.source.open(large.item)
            self._begin(large)

    def _begin(self, large: _Large) -> None:
        reader = large.reader
        assert reader  # noqa: S101 - _open set it
        whole = functools.partial(_digest_of, reader, large.item.size)
        large.sink = self._try(lambda: self.target.begin(large.item, whole))

    def _pass_on(self, large: _Large, number: int) -> None:
        (start, size), sink, reader = large.range_of(number), large.sink, large.reader
        assert sink  # noqa: S101 - _open set both
        assert reader  # noqa: S101
        digest = sink.held(number, size, lambda: self._read_part(large, start, size))
        if digest is None:
            self.rate.take(size, self.pool.stopped)
            digest = self._try(lambda: sink.put(number, reader.chunks(start, size)))
        large.digests[number] = digest
        self.meter.add(size)
        if number == 1:  # now, since asking takes a while, in which others bring the rest
            large.kept = self._kept(large)

    def _kept(self, large: _Large) -> int | None:
        """Return the digest that is kept with the source; None where there is none."""
        assert large.reader  # noqa: S101 - _open set it
        if large.reader.crc32c is not None or not large.item.version or large.item.sha256:
            return large.reader.crc32c
        return self._try(lambda: self.source.crc32c(large.item))

    def _read_part(self, large: _Large, start: int, size: int) -> Any:
        assert large.reader  # noqa: S101 - _open set it
        return self._try(functools.partial(large.reader.read, start, size))

    def _close(self, large: _Large) -> None:
        try:
            with self._noting(large.item):
                if not large.is_over:
                    self._complete(large)
        finally:
            if large.sink:
                large.sink.close()
            if large.reader:
                large.reader.close()

    def _complete(self, large: _Large) -> None:
        """Make the item appear; one that came garbled is moved once more."""
        try:
            self._finish(large)
        except Damaged:
            self._begin(large)
            for number in range(1, large.count + 1):
                self.meter.add(-large.range_of(number)[1])
                self._pass_on(large, number)
            self._finish(large)
        self._tell(large.item, 0)

    def _finish(self, large: _Large) -> None:
        try:
            self._appear(large, self._checked(large))
        except Damaged:
            assert large.sink  # noqa: S101
            large.sink.abort()  # none of its parts can be trusted
            raise

    def _checked(self, large: _Large) -> int:
        """Return the digest of all parts if it is the one that is kept with the source."""
        assert large.reader  # noqa: S101
        large.reader.check()
        digest = combined((large.digests[n], large.range_of(n)[1]) for n in sorted(large.digests))
        if large.kept is not None and large.kept != digest:
            raise Damaged("Its bytes are not those that were saved: the digest differs.")
        return digest

    def _appear(self, large: _Large, digest: int) -> None:
        item, sink = large.item, large.sink
        assert sink  # noqa: S101
        try:
            self._try(functools.partial(sink.complete, digest))
        except NotFound:  # a request that was tried again may have done it the first time
            if self._try(lambda: self.target.crc32c(item)) != digest:
                raise

    def _is_equal(self, item: Item, there: Item) -> bool:
        kept = self._try(lambda: self.target.crc32c(there))
        return kept is not None and kept == self._try(lambda: self.source.crc32c(item))

    def _try(self, request: Callable[[], Done]) -> Done:
        return tried(self.pool, request)

    @contextlib.contextmanager
    def _noting(self, item: Item) -> Any:
        try:
            yield
        except FATAL:
            raise
        except Failure as failure:
            self.note(item.name, failure)
        except OSError as error:
            self.note(item.name, Failure(error.strerror or str(error)))

    def _tell(self, item: Item, size: int) -> None:
        self.meter.add(size, 1)
        if self.events.moved:
            with self._lock:
                self.events.moved(item)


def tried(pool: Pool, request: Callable[[], Done]) -> Done:
    """Make a request in its turn; again, later and with fewer at once, while that may help."""
    for number in range(1, TRIES + 1):
        if number > 1:
            gc.collect()  # the failure's frames hold each other, and the bytes of a whole part
        begun_at = time.monotonic()
        try:
            done = request()
        except FATAL:
            raise
        except _Garbled as failure:
            if number == GARBLED_TRIES:
                raise Damaged("Its bytes are not those that were saved.") from failure
        except PASSING:
            if number == TRIES:
                raise
            pool.pace.went_badly(begun_at)
            _wait(pool, number)
        else:
            pool.pace.went_well()
            return done
    raise AssertionError("the last try returns or raises")


def _wait(pool: Pool, number: int) -> None:
    wait_s = min(BACKOFF_S * 2**number, BACKOFF_MAX_S) * random.uniform(0.5, 1)  # noqa: S311
    if pool.stopped.wait(wait_s):
        raise Stopped


class _Garbled(Exception):
    """Bytes came that are not those of the digest that came with them."""


class _Over(Exception):
    """There is nothing to do for a part: the item failed, or proved to be unchanged."""


@dataclass
class _Large:
    """An item on its way in parts, and what the threads that move them share."""

    item: Item
    doubt: Item | None
    reader: Reader | None = None
    sink: Sink | None = None
    is_over: bool = False
    kept: int | None = None
    digests: dict[int, int] = field(default_factory=dict)
    opening: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.part_bytes = part_bytes(self.item.size)
        self.count = self._left = -(-self.item.size // self.part_bytes)

    def range_of(self, number: int) -> tuple[int, int]:
        """Return start and size of a part."""
        start = (number - 1) * self.part_bytes
        return start, min(self.part_bytes, self.item.size - start)

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Let the first failure out; it is the end of all parts."""
        try:
            yield
        except _Over:
            raise
        except BaseException as failure:
            with self.opening:
                was_over, self.is_over = self.is_over, True
            if was_over:
                raise _Over from failure
            raise

    def count_down(self) -> bool:
        """Count a part that is done with; tells whether it was the last."""
        with self.opening:
            self._left -= 1
            return not self._left


def _digest_of(reader: Reader, size: int) -> int:
    digest = 0
    for start in range(0, size, READ_BYTES):
        digest = crc32c(reader.read(start, min(READ_BYTES, size - start)), digest)
    return digest
