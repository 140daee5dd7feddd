"""Progress of long transfers on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from llmcloud.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.core.transfer.meter import Meter

LINE_S = 30.0


@contextlib.contextmanager
def bar(title: str, meter: Meter, *, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Show how far the transfer that a meter counts is; yield what takes it away before the end."""
    if quiet:
        yield lambda: None
        return
    if not sys.stderr.isatty():
        over = threading.Event()
        saying = threading.Thread(target=Lines(title, meter).say_until, args=(over,), daemon=True)
        saying.start()
        try:
            yield lambda: None
        finally:
            over.set()
            saying.join()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    class Shown(Progress):
        def get_renderables(self) -> Any:
            if self.tasks:
                files = f"{title} {meter.files_done:,}/{meter.files_total:,}"
                more = "" if meter.is_listed else "+"  # still looking for what differs
                self.tasks[0].total = meter.bytes_total or None  # update() would forget the speed
                self.update(self.tasks[0].id, completed=meter.bytes_done, description=files + more)
            return super().get_renderables()

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Shown(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.add_task(title, total=None)
        yield shown.stop


@contextlib.contextmanager
def count(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how many of how many are done, as told by what this yields."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


class Lines:
    """Says in a line how far a transfer is, every `LINE_S` in which something was to do."""

    def __init__(
        self, title: str, meter: Meter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._meter, self._clock = title, meter, clock
        self._at, self._bytes, self._said = clock(), meter.bytes_done, ""

    def say_until(self, over: threading.Event) -> None:
        """Go on until the transfer is over."""
        while not over.wait(LINE_S):
            is_idle = self._meter.files_done == self._meter.files_total
            line = self._line()
            if not (is_idle and line == self._said):  # who watches a job waits most of the time
                output.say(line)
            self._said = line

    def _line(self) -> str:
        from llmcloud.cli import render

        meter, now = self._meter, self._clock()
        rate = max(meter.bytes_done - self._bytes, 0) / (now - self._at)
        self._at, self._bytes = now, meter.bytes_done
        of = "of" if meter.is_listed else "of at least"
        parts = [
            f"{self._title}: {render.size(meter.bytes_done)} {of} {render.size(meter.bytes_total)}",
            f"{meter.files_done:,} {of} {meter.files_total:,} files",
        ]
        if meter.unchanged:
            parts.append(f"{meter.unchanged:,} unchanged")
        parts.append(f"{render.size(round(rate))}/s")
        left = meter.bytes_total - meter.bytes_done
        if rate and left and meter.is_listed:
            parts.append(f"{render.span(left / rate)} left")
        return ", ".join(parts)
