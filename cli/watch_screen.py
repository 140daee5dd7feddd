"""A terminal that pictures are drawn on, again and again, and that keeps the last one."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from llmcloud.cli.watch_view import Picture

if TYPE_CHECKING:
    from typing import Self

    from llmcloud.core.watch import Snapshot

RESIZE_S = 0.1  # how soon a terminal of another size has a picture of its size
LINES_BELOW = 6  # of the last picture: how the job ended, what to do, the prompt


@dataclass
class Screen:
    """Draws on the terminal's other screen, so that no resize leaves anything behind."""

    _console: Console
    _live: Live
    _seen: Snapshot | None = None
    _size: tuple[int, int] = (0, 0)

    @classmethod
    def open(cls) -> Screen | None:
        """Return the terminal of stdout; None for one that can only print lines."""
        console = Console(file=sys.stdout, highlight=False)
        if console.is_dumb_terminal:
            return None
        live = Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        return cls(console, live)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Go back to the terminal's own screen, and leave the last picture there."""
        self._live.stop()
        if self._seen:
            height = max(1, self._console.height - LINES_BELOW)
            self._console.print(Picture(self._seen), height=height)

    def show(self, seen: Snapshot, note: str) -> None:
        """Draw a snapshot."""
        self._seen = seen
        self._live.update(Picture(seen, note))
        self._draw()

    def wait(self, seconds: float) -> None:
        """Let time pass; draws again when the terminal has another size."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(RESIZE_S, left_s))
            if self._console.size != self._size:
                self._draw()

    def _draw(self) -> None:
        self._size = self._console.size
        self._live.refresh()
