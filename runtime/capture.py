"""What a node's commands print, on its way to the store: records, metrics, no secrets."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from llmcloud.runtime.records import LineSplitter, Record
from llmcloud.runtime.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

QUIET_S = 0.5  # after this an unfinished line is shown as it is


class Capture:
    """Turns bytes into records for `write` and whole lines for `on_line`; from any thread."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        on_line: Callable[[str], None],
        secrets: Iterable[str] = (),
    ) -> None:
        self._write, self._on_line = write, on_line
        hidden = tuple(secrets)
        self._redactors = {name: Redactor(hidden) for name in ("stdout", "stderr", "system")}
        self._splitters = {name: LineSplitter(name) for name in ("stdout", "stderr")}
        self._begun: dict[str, bytes] = {}
        self._last_at = time.monotonic()
        self._lock = threading.Lock()

    def feed(self, stream: str, data: bytes) -> None:
        """Take what a process printed."""
        with self._lock:
            self._last_at = time.monotonic()
            self._pass_on(stream, self._redactors[stream].feed(data))

    def say(self, text: str) -> None:
        """Add a line of the node's own to the log."""
        with self._lock:
            lines = self._redactors["system"].whole(text.encode()).splitlines()
            self._emit([Record(_now_ms(), "system", line) for line in lines])

    def tick(self) -> None:
        """Let an unfinished line go when nothing has followed it for a while."""
        with self._lock:
            if time.monotonic() - self._last_at >= QUIET_S:
                self._cut()

    def finish(self) -> None:
        """Let go of everything: the process has ended."""
        with self._lock:
            for stream in self._splitters:
                self._pass_on(stream, self._redactors[stream].rest())
            self._cut()

    def _pass_on(self, stream: str, data: bytes) -> None:
        self._emit(self._splitters[stream].feed(data, _now_ms()))

    def _cut(self) -> None:
        for splitter in self._splitters.values():
            self._emit(splitter.cut(_now_ms()))

    def _emit(self, records: list[Record]) -> None:
        if not records:
            return
        self._write(b"".join(record.encode() for record in records))
        for record in records:
            if record.stream != "system":
                self._feed_metrics(record)

    def _feed_metrics(self, record: Record) -> None:
        """Pass on whole lines and redrawn bars; join the pieces of one that came in parts."""
        text = self._begun.pop(record.stream, b"") + record.text
        if record.ends_line or text.endswith(b"\r"):
            self._on_line(text.decode(errors="replace"))
        elif len(text) < (64 << 10):
            self._begun[record.stream] = text


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
