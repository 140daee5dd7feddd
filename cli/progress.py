"""Progress of long transfers on stderr: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.core.transfer.meter import Meter


@contextlib.contextmanager
def bar(title: str, meter: Meter, *, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Show how far the transfer that a meter counts is; yield what takes it away before the end."""
    if quiet or not sys.stderr.isatty():
        yield lambda: None
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
