"""What jobs have left behind, wherever it is: found by tag and in the store alone."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core import tidy
from llmcloud.core.provider import Leftover
from llmcloud.core.reserve import BEFORE_MACHINES, end_submit, is_cut_off
from llmcloud.core.stores import open_store
from llmcloud.runtime import journal, status
from llmcloud.runtime.errors import (
    CredentialsError,
    Failure,
    NotFound,
    PermissionDenied,
    Unreadable,
)
from llmcloud.runtime.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Compute
    from llmcloud.runtime.store import ObjectStore

KEEP_S = 7 * 86400.0  # what only the node of a job that ended badly has may be resumed from
ENDED_BADLY = {State.LOST, State.FAILED}
CUT_OFF, FOLDER = "submit", "folder"


@dataclass(frozen=True)
class Found:
    """A leftover, and who has it: a provider, or (None) the store itself.

    `stores` are those that its job may lie in.
    """

    leftover: Leftover
    store: ObjectStore
    compute: Compute | None = None
    stores: tuple[ObjectStore, ...] = ()

    def remove(self) -> None:
        """Remove it; what is gone already is removed, and what is at work again stays."""
        if self._is_live:
            return
        if self.compute and self.leftover.kind == journal.MACHINES:
            jobs.reconcile(self.store, self.leftover.id, self.compute)  # while one can still see it
            tidy.run(self.store, self.compute, jobs.read(self.store, self.leftover.id))
        elif self.compute:
            compute, leftover = self.compute, self.leftover
            tidy.until_gone(lambda: compute.remove(leftover), f"{compute.name}, {leftover.id}")
        else:
            end_submit(self.store, self.leftover.id)

    @property
    def _is_live(self) -> bool:
        """Tell whether its job was submitted or resumed while others were looked for."""
        job, sorted_ = self.leftover.job, _Sorted()
        if job is None or self.compute is None:
            return False
        for store in self.stores:
            _sort_known(sorted_, store, job, {self.compute.name: self.compute})
        return job in sorted_.live


@dataclass
class _Sorted:
    """The ids of jobs: at work, ended with something on their nodes, cut off in their submit.

    `unaccounted` are those that have ended, and whose journal does not say that all is deleted.
    """

    live: set[str] = field(default_factory=set)
    resumable: set[str] = field(default_factory=set)
    cut_off: list[str] = field(default_factory=list)
    unaccounted: list[tuple[str, Compute]] = field(default_factory=list)
    providers: set[str] = field(default_factory=set)


def others(known: Sequence[ObjectStore], computes: Sequence[Compute]) -> list[ObjectStore]:
    """Return the stores that only what there is at the providers tells of.

    A provider that can't be asked is told by `find`.
    """
    urls: set[str] = set()
    for compute in computes:
        with contextlib.suppress(Failure):
            urls |= set(compute.stores())
    found = []
    for url in sorted(urls - {store.url for store in known}):
        with contextlib.suppress(Failure):
            found.append(open_store(url))
    return found


def find(
    stores: Sequence[ObjectStore],
    computes: Sequence[Compute],
    failed: Callable[[Failure], None],
) -> list[Found]:
    """Return what the jobs of some stores have left behind, here and at the providers.

    `failed` hears of a provider that could not be asked; one that has none of these jobs need not
    let us in.
    """
    by_name = {compute.name: compute for compute in computes}
    live: set[str] = set()
    resumable: set[str] = set()
    used: set[str] = set()
    found: list[Found] = []
    for store in stores:
        jobs_of = _sort(store, by_name)
        live |= jobs_of.live
        resumable |= jobs_of.resumable
        used |= jobs_of.providers
        found += [
            Found(Leftover(CUT_OFF, job_id, job_id, "its submit was cut off"), store)
            for job_id in jobs_of.cut_off
        ]
        found += [
            Found(
                Leftover(journal.MACHINES, job_id, job_id, "may still be there"),
                store,
                compute,
                (store,),
            )
            for job_id, compute in jobs_of.unaccounted
        ]
    there = tuple(store for store in stores if store.is_there())
    looked_at = frozenset(store.url for store in there)
    for compute in computes:
        try:
            leftovers = compute.leftovers(frozenset(live), looked_at)
        except Failure as failure:
            is_closed = isinstance(failure, (CredentialsError, PermissionDenied))
            if compute.name in used or not is_closed:
                failed(failure)
            continue
        found += [
            Found(leftover, stores[0], compute, there)
            for leftover in leftovers
            if leftover.kind != FOLDER or leftover.job not in resumable
        ]
    return sorted(found, key=lambda each: each.compute is None)  # first what makes room


def _sort(store: ObjectStore, computes: dict[str, Compute]) -> _Sorted:
    sorted_ = _Sorted()
    for job_id in jobs.ids(store):
        _sort_known(sorted_, store, job_id, computes)
    return sorted_


def _sort_known(
    sorted_: _Sorted, store: ObjectStore, job_id: str, computes: dict[str, Compute]
) -> None:
    try:
        _sort_one(sorted_, store, jobs.read(store, job_id), computes)
    except NotFound:
        return
    except Unreadable:
        sorted_.live.add(job_id)  # for all we know: what it has stays


def _sort_one(sorted_: _Sorted, store: ObjectStore, job: Job, computes: dict[str, Compute]) -> None:
    compute = computes.get(job.provider)
    sorted_.providers.add(job.provider)
    found = _status(store, job.id, compute)
    is_early = found is None or found.state in BEFORE_MACHINES
    if compute and is_early and is_cut_off(store, compute, job):
        sorted_.cut_off.append(job.id)
    elif found is None or not found.state.is_final:
        sorted_.live.add(job.id)
    elif _may_be_resumed(found):
        sorted_.resumable.add(job.id)
    if compute and job.id not in sorted_.live and journal.pending(store, job.id):
        sorted_.unaccounted.append((job.id, compute))


def _status(store: ObjectStore, job_id: str, compute: Compute | None) -> Status | None:
    """Return a job's status; None before its first one."""
    try:
        return jobs.observe_status(store, job_id, compute)
    except NotFound:
        return None


def _may_be_resumed(found: Status) -> bool:
    ended_at = found.ended_at or found.created_at
    return found.state in ENDED_BADLY and time.time() - status.epoch_s(ended_at) < KEEP_S
