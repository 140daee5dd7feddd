"""What jobs have left behind, wherever it is: found by tag and in the store alone."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core import tidy
from llmcloud.core.provider import Leftover
from llmcloud.core.reserve import BEFORE_MACHINES, end_submit, is_cut_off
from llmcloud.core.stores import bucket_of, open_store
from llmcloud.runtime import journal, status
from llmcloud.runtime.errors import (
    CredentialsError,
    Failure,
    NotFound,
    PermissionDenied,
    StoreGone,
    Unreadable,
)
from llmcloud.runtime.interruptible import begun
from llmcloud.runtime.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Compute
    from llmcloud.runtime.store import ObjectStore

KEEP_S = 7 * 86400.0  # what only the node of a job that ended badly has may be resumed from
ENDED_BADLY = {State.LOST, State.FAILED}
AT_ONCE = 8
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

    def add(self, other: _Sorted) -> None:
        """Take in what counts for all stores together."""
        self.live |= other.live
        self.resumable |= other.resumable
        self.providers |= other.providers


def find(
    stores: Sequence[ObjectStore],
    computes: Sequence[Compute],
    failed: Callable[[Failure], None],
    *,
    named: bool = False,
) -> list[Found]:
    """Return what the jobs of some stores have left behind, here and at the providers.

    If these stores were `named`, only those are meant, and a bucket that is not there was deleted;
    else also those that only what there is at the providers tells of. `failed` hears of each store
    and provider that could not be asked; a provider that has none of these jobs need not let us in.
    """
    urls = _urls_told_by(computes)  # before jobs are read: what comes later is of one that does
    if not named:
        stores = [*stores, *_opened(urls.keys() - {store.url for store in stores})]
    sorted_ = _Sorted()
    found: list[Found] = []
    there: list[ObjectStore] = []
    for store in stores:
        try:
            its, is_there = _sort(store, computes), store.is_there()
        except Failure as failure:
            failed(failure)
            continue
        sorted_.add(its)
        found += _unfinished(its, store)
        if is_there or (named and bucket_of(store.url)):
            there.append(store)
        elif named:
            failed(NotFound("There is no store here.", where=store.url))
    looked_at = frozenset(store.url for store in there)
    if not named:
        for url in sorted(urls.keys() - looked_at):
            failed(_left_alone(url, urls[url]))
    for compute in computes:
        try:
            leftovers = compute.leftovers(frozenset(sorted_.live), looked_at)
        except Failure as failure:
            is_closed = isinstance(failure, (CredentialsError, PermissionDenied))
            if compute.name in sorted_.providers or not is_closed:
                failed(failure)
            continue
        found += [
            Found(leftover, stores[0], compute, tuple(there))
            for leftover in leftovers
            if leftover.kind != FOLDER or leftover.job not in sorted_.resumable
        ]
    return found


def remove(found: Sequence[Found], tell: Callable[[int, int], None]) -> list[Failure]:
    """Remove leftovers, and return why some could not be: no other stays for that.

    Those of one job go one after another, many jobs at once. `tell` is given how many are done, of
    how many.
    """
    failures: list[Failure] = []
    done = 0
    for is_store in (False, True):  # first what makes room
        own = [each for each in found if (each.compute is None) == is_store]
        for ends in _removed(_by_job(own)):
            tell(done := done + len(ends), len(found))
            failures += filter(None, ends)
    return failures


def _by_job(found: Sequence[Found]) -> Iterable[list[Found]]:
    grouped: dict[str, list[Found]] = {}
    for each in found:
        grouped.setdefault(each.leftover.job or each.leftover.id, []).append(each)
    return grouped.values()


def _removed(jobs_of: Iterable[list[Found]]) -> Iterator[list[Failure | None]]:
    """Yield, job by job, what went wrong with each of its leftovers, if anything did."""
    running: deque[Future[list[Failure | None]]] = deque()
    for own in jobs_of:
        if len(running) == AT_ONCE:
            yield running.popleft().result()
        running.append(begun(functools.partial(_end_all, own)))
    while running:
        yield running.popleft().result()


def _end_all(own: list[Found]) -> list[Failure | None]:
    return [_end(each) for each in own]


def _end(found: Found) -> Failure | None:
    try:
        found.remove()
    except Failure as failure:
        return failure
    return None


def _urls_told_by(computes: Sequence[Compute]) -> dict[str, str]:
    """Return the stores that providers tell of, with their names; `find` tells of failures."""
    told: dict[str, str] = {}
    for compute in computes:
        with contextlib.suppress(Failure):
            told |= dict.fromkeys(compute.stores(), compute.name)
    return told


def _opened(urls: Iterable[str]) -> Iterator[ObjectStore]:
    for url in sorted(urls):
        with contextlib.suppress(Failure):
            yield open_store(url)


def _unfinished(its: _Sorted, store: ObjectStore) -> Iterator[Found]:
    """Yield what the store itself tells of: submits, and machines whose end nobody has seen."""
    for job_id in its.cut_off:
        yield Found(Leftover(CUT_OFF, job_id, job_id, "its submit was cut off"), store)
    for job_id, compute in its.unaccounted:
        leftover = Leftover(journal.MACHINES, job_id, job_id, "may still be there")
        yield Found(leftover, store, compute, (store,))


def _left_alone(url: str, provider: str) -> Failure:
    """Return why what jobs have stays, alive or not: nobody can tell without their store."""
    return StoreGone(
        f"What the jobs of this store have at {provider} was left alone: it can't be looked at.",
        where=url,
        fix=f"If its bucket was deleted, llmcloud gc --store {url} removes what they have.",
    )


def _sort(store: ObjectStore, computes: Sequence[Compute]) -> _Sorted:
    sorted_, by_name = _Sorted(), {compute.name: compute for compute in computes}
    for job_id in jobs.ids(store):
        _sort_known(sorted_, store, job_id, by_name)
    return sorted_


def _sort_known(
    sorted_: _Sorted, store: ObjectStore, job_id: str, computes: dict[str, Compute]
) -> None:
    try:
        _sort_one(sorted_, store, jobs.read(store, job_id), computes)
    except (NotFound, StoreGone):
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
