"""All jobs of a store at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.runtime import status
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmcloud.core.provider import Compute
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.store import ObjectStore


LATEST_BYTES = 4 << 10  # of a live job's metrics; the end is enough to tell where it is


@dataclass(frozen=True)
class Listed:
    """A job, and the latest metrics of one that is live."""

    status: Status
    latest: dict[str, str | int | float]


def find(stores: Iterable[ObjectStore], compute: Callable[[str], Compute]) -> list[Listed]:
    """Return every job, the newest first; only live jobs' providers and metrics are asked."""
    found = [listed for store in stores for listed in _in_store(store, compute)]
    return sorted(found, key=lambda each: (each.status.created_at, each.status.job), reverse=True)


def _in_store(store: ObjectStore, compute: Callable[[str], Compute]) -> Iterator[Listed]:
    for job_id in jobs.ids(store):
        latest: dict[str, str | int | float] = {}
        try:
            seen = status.read(store, job_id)
            if not seen.state.is_final:
                from llmcloud.core import metrics

                seen = jobs.observe(store, job_id, compute(seen.provider)).status
                latest = metrics.latest(store, job_id, LATEST_BYTES)
        except NotFound:
            continue  # its submit was cut off before its first state
        yield Listed(seen, latest)
