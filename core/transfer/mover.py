"""Moves items from a source to a target: many at once, large ones in parts, each try bounded."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core.transfer.crc32c import crc32c
from llmcloud.core.transfer.parts import add_parts
from llmcloud.core.transfer.retry import Garbled
from llmcloud.core.transfer.route import LARGE, SMALL, Route
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmcloud.core.transfer.sides import Item

SMALL_BYTES = 1 << 20
BATCH = 8  # small items that one thread moves in a row: handing over costs as much as sending


@dataclass
class Mover(Route):
    """Moves what it is given; a failure of one item stops no other. Use it as `with …running()`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._batch: list[tuple[Item, Item | None]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Move what is added meanwhile; raises what stopped all of it."""
        try:
            with self.pool.running():
                yield
                self._flush()
        except Exception:
            if self.pool.has_ended:  # or else a thread may still write there
                for ends in list(self.open_ends):
                    ends.close()
            raise

    def add(self, item: Item, doubt: Item | None = None) -> None:
        """Move an item, unless its digest is that of `doubt`, which is there already."""
        self.meter.plan(item.size)
        if item.size > self.target.whole_bytes:
            add_parts(self, item, doubt)
        elif item.size > SMALL_BYTES:
            self.pool.add(functools.partial(self._move_batch, [(item, doubt)]), LARGE)
        else:
            self._batch.append((item, doubt))
            if len(self._batch) >= BATCH:
                self._flush()

    def _flush(self) -> None:
        if self._batch:
            self.pool.add(functools.partial(self._move_batch, self._batch), SMALL)
            self._batch = []

    def _move_batch(self, batch: Sequence[tuple[Item, Item | None]]) -> None:
        for item, doubt in batch:
            with self.noting(item):
                if doubt and self.is_equal(item, doubt):
                    self.meter.forget(item.size)
                else:
                    self._move(item)

    def _move(self, item: Item) -> None:
        self.wait_turn(item.size)
        try:
            self.tried(functools.partial(self._copy, item))
        except NotFound:
            if item.size:
                raise
            self.meter.forget(0)  # consoles make `folder/` objects, which are listed as `folder`
        else:
            self.tell(item, item.size)

    def _copy(self, item: Item) -> None:
        """Read and write in one try, as a second one must read again what came garbled."""
        reader = self.source.open(item)
        try:
            data = reader.read(0, item.size)
            reader.check()
        finally:
            reader.close()
        digest = crc32c(data)
        if reader.crc32c is not None and reader.crc32c != digest:
            raise Garbled
        self.target.write(item, data, digest)
