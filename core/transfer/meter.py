"""How far a transfer is, and how fast it may be."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmcloud.core.transfer.pool import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Meter:
    """Counts over all threads; `is_listed` tells that the totals will grow no more."""

    bytes_total: int = 0
    files_total: int = 0
    bytes_done: int = 0
    files_done: int = 0
    unchanged: int = 0
    is_listed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, size: int) -> None:
        """Count a file that is to be transferred; for the one thread that lists."""
        self.bytes_total += size
        self.files_total += 1

    def add(self, size: int, files: int = 0) -> None:
        """Count bytes and files that are done."""
        with self._lock:
            self.bytes_done += size
            self.files_done += files

    @contextlib.contextmanager
    def part(self, size: int) -> Iterator[Callable[[int], None]]:
        """Count a part that is moved in the block, of which what is yielded may count some before.

        What fails takes back what it has counted.
        """
        counted = 0

        def count(more: int) -> None:
            nonlocal counted
            counted += more
            self.add(more)

        try:
            yield count
        except BaseException:
            self.add(-counted)
            raise
        self.add(size - counted)

    def forget(self, size: int) -> None:
        """Take back what was planned: the file proved to be unchanged."""
        with self._lock:
            self.bytes_total -= size
            self.files_total -= 1
            self.unchanged += 1


class RateLimit:
    """Lets so many bytes pass a second, on average over all threads; 0 is without limit."""

    def __init__(self, bytes_per_s: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_per_s, self._clock = bytes_per_s, clock
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, size: int, stopped: threading.Event) -> None:
        """Wait until `size` bytes may pass."""
        if not self._bytes_per_s:
            return
        with self._lock:
            now = self._clock()
            begin = max(self._free_at, now)
            self._free_at = begin + size / self._bytes_per_s
        if stopped.wait(begin - now):
            raise Stopped
