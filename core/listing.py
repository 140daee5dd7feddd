"""All jobs of a store at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core.errors import UsageError
from llmcloud.runtime import status
from llmcloud.runtime.errors import NotFound, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmcloud.core.provider import Compute
    from llmcloud.runtime.errors import Failure
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.store import ObjectStore


LATEST_BYTES = 4 << 10  # of a live job's metrics; the end is enough to tell where it is


@dataclass(frozen=True)
class Listed:
    """A job, and the latest metrics of one that is live."""

    status: Status
    latest: dict[str, str | int | float]


def find(
    stores: Iterable[ObjectStore],
    compute: Callable[[str], Compute],
    warn: Callable[[Failure], None] = lambda _: None,
) -> list[Listed]:
    """Return every job, the newest first; only live jobs' providers and metrics are asked.

    `warn` hears of a job whose documents are damaged: it is left out.
    """
    found = [listed for store in stores for listed in _in_store(store, compute, warn)]
    return sorted(found, key=lambda each: (each.status.created_at, each.status.job), reverse=True)


def _in_store(
    store: ObjectStore, compute: Callable[[str], Compute], warn: Callable[[Failure], None]
) -> Iterator[Listed]:
    for job_id in jobs.ids(store):
        latest: dict[str, str | int | float] = {}
        try:
            seen = status.read(store, job_id)
            if not seen.state.is_final:
                from llmcloud.core import metrics

                seen = jobs.observe_status(store, job_id, _provider_of(seen, compute))
                latest = metrics.latest(store, job_id, LATEST_BYTES)
        except NotFound:
            continue  # its submit was cut off before its first state
        except Unreadable as failure:
            warn(failure)
            continue
        yield Listed(seen, latest)


def _provider_of(seen: Status, compute: Callable[[str], Compute]) -> Compute | None:
    """Return a job's provider; None where it is not installed: then the store's word stands."""
    try:
        return compute(seen.provider)
    except UsageError:
        return None
