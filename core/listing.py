"""All jobs of a store at a glance."""

from __future__ import annotations

import contextlib
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


LATEST_BYTES = 4 << 10  # of a job's metrics; the end is enough to tell where it is


@dataclass(frozen=True)
class Listed:
    """A job, and where more of it lies."""

    status: Status
    store: ObjectStore

    def latest(self) -> dict[str, str | int | float]:
        """Return the job's latest metrics, as `metrics.latest` does; read at each call."""
        from llmcloud.core import metrics

        try:
            return metrics.latest(self.store, self.status.job, LATEST_BYTES)
        except NotFound:  # removed since it was listed
            return {}

    def stage(self) -> str:
        """Return the state in a word, as `jobs.stage` does; read at each call."""
        from llmcloud.runtime import heartbeat

        now = self.status
        if now.state is status.State.PROVISIONING:
            with contextlib.suppress(NotFound, Unreadable):
                nodes = jobs.read(self.store, now.job).task.nodes
                beats = heartbeat.read_all(self.store, now.job, now.attempt)
                return jobs.stage(now, beats, nodes)
        return now.state.value


def find(
    stores: Iterable[ObjectStore],
    compute: Callable[[str], Compute],
    warn: Callable[[Failure], None] = lambda _: None,
) -> list[Listed]:
    """Return every job, the newest first; only live jobs' providers are asked.

    `warn` hears of a job whose documents are damaged: it is left out.
    """
    found = [listed for store in stores for listed in _in_store(store, compute, warn)]
    return sorted(found, key=lambda each: (each.status.created_at, each.status.job), reverse=True)


def _in_store(
    store: ObjectStore, compute: Callable[[str], Compute], warn: Callable[[Failure], None]
) -> Iterator[Listed]:
    for job_id in jobs.ids(store):
        try:
            seen = status.read(store, job_id)
            if not seen.state.is_final:
                seen = jobs.observe_status(store, job_id, _provider_of(seen, compute))
        except NotFound:
            continue  # its submit was cut off before its first state
        except Unreadable as failure:
            warn(failure)
            continue
        yield Listed(seen, store)


def _provider_of(seen: Status, compute: Callable[[str], Compute]) -> Compute | None:
    """Return a job's provider; None where it is not installed: then the store's word stands."""
    try:
        return compute(seen.provider)
    except UsageError:
        return None
