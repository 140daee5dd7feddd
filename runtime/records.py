"""Log records: what a process printed, byte for byte, with when and where.

    1795300000123 o a line of standard output
    1795300000456 E a piece of standard error whose line goes on in the next record of its stream

A lower-case letter ends a line, an upper-case one does not: so progress bars (`\\r`), prompts and
endless lines travel at once, and joining the pieces gives back exactly what was printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAMS = {"o": "stdout", "e": "stderr", "s": "system"}
LETTERS = {name: letter for letter, name in STREAMS.items()}
MAX_PIECE_BYTES = 64 << 10

# What follows the 13 digits of a time in milliseconds, which are as many until the year 2286.
_KINDS = {f" {letter} ".encode(): (name, True) for letter, name in STREAMS.items()} | {
    f" {letter.upper()} ".encode(): (name, False) for letter, name in STREAMS.items()
}


@dataclass(frozen=True)
class Record:
    """`text` has no newline; `ends_line` says whether one followed."""

    ts_ms: int
    stream: str
    text: bytes
    ends_line: bool = True

    def encode(self) -> bytes:
        """Return the record as it lies in a segment."""
        letter = LETTERS[self.stream]
        return b"%013d %c %s\n" % (
            self.ts_ms,
            (letter if self.ends_line else letter.upper()).encode(),
            self.text,
        )


def decode(data: bytes) -> Iterator[tuple[Record, int]]:
    """Yield the records of whole lines of a segment, each with its size in bytes.

    What is no record is passed over, and counts for the size of the next one.
    """
    skipped = 0
    for line in data.split(b"\n")[:-1]:
        size = len(line) + 1
        kind = _KINDS.get(line[13:16])
        stamp = line[:13]
        if kind and stamp.isdigit():
            yield Record(int(stamp), kind[0], line[16:], kind[1]), size + skipped
            skipped = 0
        else:
            skipped += size


class LineSplitter:
    """Cuts one stream's bytes into records, holding back an unfinished line until `cut`."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._held = b""

    def feed(self, data: bytes, ts_ms: int) -> list[Record]:
        """Return the records that `data` completes."""
        *lines, held = (self._held + data).split(b"\n")
        records = [Record(ts_ms, self._stream, line) for line in lines]
        redrawn = held.rfind(b"\r") + 1
        if not redrawn and len(held) >= MAX_PIECE_BYTES:
            redrawn = len(held)
        if redrawn:
            records.append(Record(ts_ms, self._stream, held[:redrawn], ends_line=False))
        self._held = held[redrawn:]
        return records

    def cut(self, ts_ms: int) -> list[Record]:
        """Return what is held back as an unfinished piece; for when nothing more came for long."""
        held, self._held = self._held, b""
        return [Record(ts_ms, self._stream, held, ends_line=False)] if held else []
