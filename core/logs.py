"""A job's log as its readers see it: every line once, from all nodes, from any point on."""

from __future__ import annotations

import base64
import heapq
import struct
import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core.errors import UsageError
from llmcloud.runtime import layout, segments
from llmcloud.runtime.records import decode
from llmcloud.runtime.segments import Position

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from llmcloud.runtime.records import Record
    from llmcloud.runtime.store import ObjectStore

KIND = "logs"
SKEW_S = 60.0  # between a node's clock and the store's
CHECK_BYTES = 4

_PLACE = struct.Struct(">HIII")  # in a cursor: attempt, node, segment, offset


@dataclass(frozen=True, order=True)
class Stream:
    """The log of one node in one attempt."""

    attempt: int
    node: int


@dataclass(frozen=True)
class Line:
    """A record of a stream, and the position after it."""

    stream: Stream
    record: Record
    position: Position


class LogReader:
    """Reads what is new of a job's log, each time it is asked; `cursor` resumes it elsewhere."""

    def __init__(
        self,
        store: ObjectStore,
        job: str,
        *,
        nodes: Collection[int] = (),
        first_attempt: int = 1,
        cursor: str = "",
    ) -> None:
        self._store, self._job = store, job
        self._nodes, self._first_attempt = frozenset(nodes), first_attempt
        self._at = _parse_cursor(cursor)

    def poll(self) -> Iterator[Line]:
        """Yield the lines since the last call, those of an attempt in the order of their time."""
        streams = self._streams()
        for attempt in sorted({stream.attempt for stream in streams}):
            new = [self._new(stream) for stream in streams if stream.attempt == attempt]
            merged = (
                heapq.merge(*new, key=lambda line: line.record.ts_ms) if len(new) > 1 else new[0]
            )
            for line in merged:
                self._at[line.stream] = line.position
                yield line

    def last(self, lines: Iterable[Line], count: int) -> Iterator[Line]:
        """Yield the last of some lines that `poll` yields, with the cursor after each."""
        kept = deque(((line, dict(self._at)) for line in lines), maxlen=count)
        for line, self._at in kept:
            yield line

    def cursor(self) -> str:
        """Return where the last line that was yielded ended, in all streams: opaque, resumable."""
        packed = b"".join(
            _PLACE.pack(stream.attempt, stream.node, at.seq, at.offset)
            for stream, at in self._at.items()
        )
        return base64.urlsafe_b64encode(packed + _check(packed)).decode().rstrip("=")

    def skip_to_tail(self, lines: int) -> None:
        """Begin no earlier than needed to see the last `lines` lines of each stream."""
        for stream in self._streams():
            prefix = self._prefix(stream)
            keys = (entry.key[len(prefix) :] for entry in self._store.objects(prefix))
            seqs = layout.numbers(keys)
            found = 0
            for seq in reversed(seqs):
                self._at[stream] = Position(seq)
                found += self._store.get(layout.segment(prefix, seq)).data.count(b"\n")
                if found >= lines:
                    break

    def skip_until(self, since_s: float) -> None:
        """Pass over segments that were last written before a time (seconds since the epoch)."""
        for stream in self._streams():
            prefix = self._prefix(stream)
            for entry in self._store.objects(prefix):
                if entry.modified_at >= since_s - SKEW_S:
                    break
                for seq in layout.numbers([entry.key[len(prefix) :]]):
                    self._at[stream] = Position(seq + 1)

    def _new(self, stream: Stream) -> Iterator[Line]:
        at = self._at.get(stream, Position())
        for chunk, after in segments.read_from(self._store, self._prefix(stream), at):
            offset = after.offset - len(chunk)
            for record, size in decode(chunk):
                offset += size
                yield Line(stream, record, Position(after.seq, offset))

    def _streams(self) -> list[Stream]:
        root = layout.streams(self._job, KIND)
        return [
            Stream(int(attempt), node)
            for attempt in self._store.folders(root)
            if attempt.isdigit() and int(attempt) >= self._first_attempt
            for node in layout.numbers(self._store.folders(f"{root}{attempt}/"))
            if not self._nodes or node in self._nodes
        ]

    def _prefix(self, stream: Stream) -> str:
        return layout.stream(self._job, KIND, stream.attempt, stream.node)


def _parse_cursor(cursor: str) -> dict[Stream, Position]:
    if not cursor:
        return {}
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        packed = b""
    places, check = packed[:-CHECK_BYTES], packed[-CHECK_BYTES:]
    if check != _check(places) or len(places) % _PLACE.size:
        raise UsageError(
            "That is no cursor.", fix="Take it from the `cursor` of a line of `logs --json`."
        )
    return {Stream(a, n): Position(s, o) for a, n, s, o in _PLACE.iter_unpack(places)}


def _check(places: bytes) -> bytes:
    return zlib.crc32(places).to_bytes(CHECK_BYTES, "big")
