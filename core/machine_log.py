"""What machines printed that could not start their node: where it was kept for want of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core.logs import KIND, Line, Stream
from llmcloud.runtime import layout, status
from llmcloud.runtime.records import Record
from llmcloud.runtime.segments import Position
from llmcloud.runtime.status import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.core.provider import Compute
    from llmcloud.runtime.store import ObjectStore

SYSTEM = "system"


def lines(store: ObjectStore, compute: Callable[[], Compute], job_id: str) -> Iterator[Line]:
    """Yield it for a job's newest attempt; nothing where a node has shipped a log of its own.

    `compute` gives the provider, once it is to be asked.
    """
    found = status.read(store, job_id)
    attempt = f"{layout.streams(job_id, KIND)}{found.attempt:0{layout.ATTEMPT_DIGITS}d}/"
    has_begun = found.state in {State.RUNNING, State.SUCCEEDED}  # though it may print nothing
    if not found.launch or has_begun or store.folders(attempt):
        return
    kept = list(store.objects(layout.boots(job_id)))
    for entry in kept:
        for text in store.get(entry.key).data.splitlines():
            yield _line(found.attempt, 0, int(entry.modified_at * 1000), text)
    if kept:
        return
    for printed in compute().printed(jobs.place_of(jobs.read(store, job_id), found)):
        yield _line(found.attempt, printed.rank, printed.ts_ms, printed.text.encode())


def _line(attempt: int, rank: int, ts_ms: int, text: bytes) -> Line:
    return Line(Stream(attempt, rank), Record(ts_ms, SYSTEM, text), Position())
