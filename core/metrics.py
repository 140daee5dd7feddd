"""A job's metrics as its readers see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.metrics.metric import read_lines
from llmcloud.runtime.segments import Position, read_from

if TYPE_CHECKING:
    from llmcloud.runtime.store import ObjectStore

TAIL_BYTES = 256 << 10


def latest(
    store: ObjectStore, job: str, tail_bytes: int = TAIL_BYTES
) -> dict[str, str | int | float]:
    """Return the newest value of each metric of the newest attempt that has any.

    Reads only the end of the last segment of the lowest rank, however long the job is.
    """
    root = layout.streams(job, "metrics")
    for attempt in reversed(store.folders(root)):
        for rank in store.folders(f"{root}{attempt}/"):
            segments = list(store.objects(f"{root}{attempt}/{rank}/"))
            found: dict[str, str | int | float] = {}
            for segment in segments[-1:]:
                start = max(0, segment.size - tail_bytes)
                lines = store.read(segment.key, start, tail_bytes).splitlines()
                for metric in read_lines(lines[1:] if start else lines):  # the first may be cut
                    found |= metric.to_document()
            if found:
                return found
    return {}


class MetricsReader:
    """Keeps up with a job's metrics; `history` holds those of the lowest rank that has any."""

    def __init__(self, store: ObjectStore, job: str) -> None:
        from llmcloud.runtime.metrics.progress import History

        self._store, self._job = store, job
        self._at: dict[tuple[int, int], Position] = {}
        self.history = History()

    def poll(self) -> None:
        """Read what is new."""
        root = layout.streams(self._job, "metrics")
        for attempt in self._store.folders(root):
            ranks = layout.numbers(self._store.folders(f"{root}{attempt}/"))
            if attempt.isdigit() and ranks:
                self._read(int(attempt), ranks[0])

    def _read(self, attempt: int, rank: int) -> None:
        prefix = layout.stream(self._job, "metrics", attempt, rank)
        at = self._at.get((attempt, rank), Position())
        for chunk, after in read_from(self._store, prefix, at):
            self._at[attempt, rank] = after
            for metric in read_lines(chunk.splitlines()):
                self.history.add(metric)
