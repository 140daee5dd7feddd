"""Progress of long transfers on stderr: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.core.transfer import Progress


@contextlib.contextmanager
def bar(title: str, *, quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Yield what takes the progress of a transfer."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(title, total=None)

        def tell(progress: Progress) -> None:
            files = f"{title} {progress.files_done}/{progress.files_total}"
            shown.update(
                task,
                completed=progress.bytes_done,
                total=progress.bytes_total,
                description=files,
            )

        yield tell
