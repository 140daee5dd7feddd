"""End what a job still has at its provider, and write down that it is gone."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from llmcloud.core.provider import Place
from llmcloud.runtime import journal, layout, status
from llmcloud.runtime.errors import Unavailable
from llmcloud.runtime.journal import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Compute
    from llmcloud.runtime.journal import Resource
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.store import ObjectStore

TIMEOUT_S = 600.0  # for machines to end, so that what they used can go
POLL_S = 2.0


def run(
    store: ObjectStore,
    compute: Compute,
    job: Job,
    tell: Callable[[str], None] = lambda _: None,
    *,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Delete all that a job has asked for, wherever; Unavailable if something won't go.

    `tell` gets a sentence when that takes a while. A job that somebody resumes keeps what it has.
    """
    ended = status.read(store, job.id)
    for entry in journal.pending(store, job.id):
        where = f"{job.provider} {entry.region or ''}, {entry.name}"
        delete = functools.partial(_delete, store, compute, _place(job, entry), ended)
        try:
            if not delete():
                tell("waiting for the machines to end, and then removing what they used")
                until_gone(delete, where, clock, wait)
        except _Resumed:
            return
        journal.advance(store, entry, Stage.DELETED)


class _Resumed(Exception):
    """Somebody has asked for new machines of the job: they would be deleted with the old."""


def _delete(store: ObjectStore, compute: Compute, place: Place, ended: Status) -> bool:
    now = status.read(store, place.job)
    is_newer = now.launch > ended.launch and not now.state.is_final
    if is_newer and not store.exists(layout.cancel(place.job)):
        raise _Resumed
    return compute.delete(place)


def until_gone(
    delete: Callable[[], bool],
    where: str,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Delete again and again until nothing is there; Unavailable if something won't go."""
    deadline = clock() + TIMEOUT_S
    while not delete():
        if clock() > deadline:
            raise Unavailable(
                "What a job has used is not gone yet.",
                where=where,
                fix="llmcloud gc looks for it again.",
            )
        wait(POLL_S)


def _place(job: Job, entry: Resource) -> Place:
    return Place(job.id, job.service, entry.region, job.task.nodes, entry.launch)
