"""Streams of bytes in a store that has no append: segments that only grow.

A stream is objects 0, 1, 2 …. The newest is written again, whole and longer, until it is full;
so there are few objects, and a reader only ever asks for the bytes after those it has.
The writer keeps the newest segments in a spool folder until the store has them whole, so that
neither a store that is away for a while nor a kill loses a byte.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmcloud.runtime.store import ObjectStore

SEGMENT_BYTES = 1 << 20
READ_BYTES = 1 << 20


class SegmentWriter:
    """Appends records to a stream; `append` from one thread, `flush` from another."""

    def __init__(self, store: ObjectStore, stream: str, spool: Path) -> None:
        self._store, self._stream, self._spool = store, stream, spool
        spool.mkdir(parents=True, exist_ok=True)
        (spool / "stream").write_text(stream)
        self._lock = threading.Lock()
        self._seq = 0
        self._size = 0
        self._shipped: dict[int, int] = {}
        self._file = self._segment_path(0).open("ab", buffering=0)

    def append(self, records: bytes) -> None:
        """Add whole records; they are on this disk when it returns."""
        with self._lock:
            self._file.write(records)
            self._size += len(records)
            if self._size >= SEGMENT_BYTES:
                self._file.close()
                self._seq, self._size = self._seq + 1, 0
                self._file = self._segment_path(self._seq).open("ab", buffering=0)

    def flush(self) -> None:
        """Bring the store up to date; what raises here is tried again by the next call."""
        for seq in sorted(int(path.name) for path in self._spool.glob("[0-9]*")):
            with self._lock:
                newest = self._seq
            data = self._segment_path(seq).read_bytes()
            if len(data) != self._shipped.get(seq, 0):
                self._store.put(layout.segment(self._stream, seq), data)
                self._shipped[seq] = len(data)
            if seq < newest:
                self._segment_path(seq).unlink()
                del self._shipped[seq]

    def close(self) -> None:
        """Flush for the last time; afterwards the spool is empty."""
        self.flush()
        self._file.close()
        for path in self._spool.iterdir():
            path.unlink()
        self._spool.rmdir()

    def _segment_path(self, seq: int) -> Path:
        return self._spool / f"{seq:0{layout.SEQ_DIGITS}d}"


def ship_leftovers(store: ObjectStore, spool: Path) -> None:
    """Ship what a writer that was killed left in its spool folder."""
    marker = spool / "stream"
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
