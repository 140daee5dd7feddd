"""Log lines on a terminal: a prefix and a colour a node, unfinished lines as they grow."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from llmcloud.cli import output
from llmcloud.runtime.status import rfc3339

if TYPE_CHECKING:
    from llmcloud.core.logs import Line, LogReader, Stream

COLORS = [f"\x1b[{code}m" for code in (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)]


def printer(reader: LogReader, *, nodes: int, as_json: bool) -> TextPrinter | JsonPrinter:
    """Return what prints lines; one node needs no prefix."""
    return JsonPrinter(reader) if as_json else TextPrinter(nodes)


class TextPrinter:
    """Prints lines for people; pieces of a line appear at once, and are joined when they can be."""

    def __init__(self, nodes: int) -> None:
        self.count = 0  # of lines, and pieces of lines, that were printed
        self._prefixed = nodes != 1
        self._color = output.has_color(sys.stdout)
        self._open: tuple[Stream, str] | None = None
        self._out = sys.stdout.buffer

    def __call__(self, line: Line) -> None:
        """Print a line, or a piece of one."""
        self.count += 1
        record = line.record
        source = (line.stream, record.stream)
        if self._open != source:
            if self._open:
                self._out.write(b"\n")
            self._out.write(self._prefix(line))
        text = record.text
        if record.stream == "system":
            text = self._dim(text)
        self._out.write(text + (b"\n" if record.ends_line else b""))
        self._open = None if record.ends_line else source

    def flush(self) -> None:
        """Show what was printed so far."""
        self._out.flush()

    def finish(self) -> None:
        """End a line that was left open."""
        if self._open:
            self._out.write(b"\n")
            self._open = None
        self._out.flush()

    def _prefix(self, line: Line) -> bytes:
        if not self._prefixed:
            return b""
        prefix = f"[{line.stream.node}] "
        if self._color:
            prefix = f"{COLORS[line.stream.node % len(COLORS)]}{prefix}{output.RESET}"
        return prefix.encode()

    def _dim(self, text: bytes) -> bytes:
        return b"\x1b[2m" + text + b"\x1b[0m" if self._color else text


class JsonPrinter:
    """Prints one object a line; a piece of a line says so, so that a cursor is exact."""

    def __init__(self, reader: LogReader) -> None:
        self.count = 0
        self._reader = reader

    def __call__(self, line: Line) -> None:
        """Print a line, or a piece of one."""
        self.count += 1
        record = line.record
        document = {
            "ts": _time(record.ts_ms),
            "node": line.stream.node,
            "attempt": line.stream.attempt,
            "stream": record.stream,
            "line": record.text.decode(errors="replace"),
            "cursor": self._reader.cursor(),
        }
        if not record.ends_line:
            document["partial"] = True
        sys.stdout.write(json.dumps(document) + "\n")

    def flush(self) -> None:
        """Show what was printed so far."""
        sys.stdout.flush()

    finish = flush


def _time(ts_ms: int) -> str:
    """Return a record's time in RFC 3339; many lines fall in one second, and dates are slow."""
    return f"{_second(ts_ms // 1000)}.{ts_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(epoch_s: int) -> str:
    return rfc3339(epoch_s).partition(".")[0]
