"""All jobs of a store at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.runtime import status
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmcloud.core.provider import Compute
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.store import ObjectStore


def statuses(stores: Iterable[ObjectStore], compute: Callable[[str], Compute]) -> list[Status]:
    """Return every job's status, the newest first; only live jobs' providers are asked."""
    found = [seen for store in stores for seen in _statuses(store, compute)]
    return sorted(found, key=lambda seen: (seen.created_at, seen.job), reverse=True)


def _statuses(store: ObjectStore, compute: Callable[[str], Compute]) -> Iterator[Status]:
    for job_id in jobs.ids(store):
        try:
            seen = status.read(store, job_id)
            if not seen.state.is_final:
                seen = jobs.observe(store, job_id, compute(seen.provider)).status
        except NotFound:
            continue  # its submit was cut off before its first state
        yield seen
