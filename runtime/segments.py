"""Streams of bytes in a store that has no append: segments that only grow.

A stream is objects 0, 1, 2 …. The newest is written again, whole and longer, until it is full;
so there are few objects, and a reader only ever asks for the bytes after those it has.
The writer keeps the newest segments in a spool until the store has them whole, so that neither a
store that is away for a while nor a kill loses a byte.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.errors import Failure, NotFound
from llmcloud.runtime.spool import MARKER, Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmcloud.runtime.store import ObjectStore

SEGMENT_BYTES = 1 << 20
READ_BYTES = 1 << 20


class SegmentWriter:
    """Appends records to a stream; `append` from any thread, `flush` from one at a time."""

    def __init__(self, store: ObjectStore, stream: str, folder: Path) -> None:
        self._store, self._stream = store, stream
        self._spool = Spool(folder, stream)
        self._lock = threading.Lock()
        self._seq = 0
        self._shipped: dict[int, int] = {}

    def append(self, records: bytes) -> None:
        """Add whole records; a kill of this process does not lose them, if the disk took them."""
        with self._lock:
            self._spool.append(self._seq, records)
            if self._spool.size(self._seq) >= SEGMENT_BYTES:
                self._seq += 1

    def flush(self) -> None:
        """Bring the store up to date; what raises here is tried again by the next call."""
        with self._lock:
            seqs, newest = self._spool.seqs, self._seq
        for seq in seqs:
            with self._lock:
                data = self._spool.read(seq)
            if len(data) != self._shipped.get(seq, 0):
                self._store.put(layout.segment(self._stream, seq), data)
                self._shipped[seq] = len(data)
            if seq < newest:
                with self._lock:
                    self._spool.drop(seq)
                del self._shipped[seq]

    def close(self) -> None:
        """Flush for the last time; Failure if a full disk and a store away lost something."""
        self.flush()
        self._spool.remove()
        if self._spool.lost_bytes:
            raise Failure(
                f"{self._spool.lost_bytes} bytes of {self._stream} were lost: neither the node's "
                "disk nor the store took them.",
                fix="Make room on the node's disk (resources.disk).",
            )


def ship_leftovers(store: ObjectStore, spool: Path) -> None:
    """Ship what a writer that was killed left in its spool folder."""
    marker = spool / MARKER
    if marker.is_file():
        stream = marker.read_text()
        for path in sorted(spool.glob("[0-9]*")):
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]  # a kill may have cut the last record
            store.put(layout.segment(stream, int(path.name)), whole)
            path.unlink()
        marker.unlink()


@dataclass(frozen=True)
class Position:
    """How far a stream has been read: the next byte wanted."""

    seq: int = 0
    offset: int = 0


def read_from(
    store: ObjectStore, stream: str, position: Position
) -> Iterator[tuple[bytes, Position]]:
    """Yield (whole records, the position after them) up to what the stream holds now."""
    while True:
        ended = store.exists(layout.segment(stream, position.seq + 1))
        for chunk in _grown(store, layout.segment(stream, position.seq), position.offset):
            position = Position(position.seq, position.offset + len(chunk))
            yield chunk, position
        if not ended:  # asked before the read: what came between is read by the next call
            return
        position = Position(position.seq + 1)


def _grown(store: ObjectStore, key: str, offset: int) -> Iterator[bytes]:
    size = READ_BYTES
    while True:
        try:
            data = store.read(key, offset, size)
        except NotFound:
            return
        whole = data[: data.rfind(b"\n") + 1]
        if whole:
            yield whole
            offset += len(whole)
            size = READ_BYTES
        elif len(data) == size:
            size *= 2  # a record longer than what we asked for
        else:
            return
