"""A job's metrics as its readers see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.core.logs import Stream
from llmcloud.runtime import layout
from llmcloud.runtime.metrics.metric import Metric
from llmcloud.runtime.metrics.progress import History
from llmcloud.runtime.segments import Position, read_from

if TYPE_CHECKING:
    from llmcloud.runtime.store import ObjectStore


def latest(store: ObjectStore, job: str) -> dict[str, object]:
    """Return the newest value of each metric of the newest attempt that has any.

    Reads only the last segment of the lowest rank: one object, however long the job is.
    """
    root = layout.streams(job, "metrics")
    for attempt in reversed(store.folders(root)):
        for rank in store.folders(f"{root}{attempt}/"):
            keys = [entry.key for entry in store.objects(f"{root}{attempt}/{rank}/")]
            found: dict[str, object] = {}
            for line in store.get(keys[-1]).data.splitlines() if keys else []:
                found |= Metric.from_json(line).to_document()
            if found:
                return found
    return {}


class MetricsReader:
    """Keeps up with a job's metrics; `history` holds those of the lowest rank that has any."""

    def __init__(self, store: ObjectStore, job: str) -> None:
        self._store, self._job = store, job
        self._at: dict[Stream, Position] = {}
        self.history = History()

    def poll(self) -> None:
        """Read what is new."""
        root = layout.streams(self._job, "metrics")
        for attempt in self._store.folders(root):
            ranks = self._store.folders(f"{root}{attempt}/")
            if ranks:
                self._read(Stream(int(attempt), int(ranks[0])))

    def _read(self, stream: Stream) -> None:
        prefix = layout.stream(self._job, "metrics", stream.attempt, stream.node)
        for chunk, after in read_from(self._store, prefix, self._at.get(stream, Position())):
            self._at[stream] = after
            for line in chunk.splitlines():
                self.history.add(Metric.from_json(line))
