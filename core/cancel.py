"""End a job: ask its nodes through the store, and end what does not answer."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core import tidy
from llmcloud.core.follow import POLL_S
from llmcloud.core.reserve import is_cut_off
from llmcloud.runtime import layout, status
from llmcloud.runtime.status import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Compute
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.store import ObjectStore

BEYOND_GRACE_S = 60.0  # to notice the request, and to upload the last checkpoint


def run(
    store: ObjectStore,
    compute: Compute,
    job_id: str,
    tell: Callable[[str], None] = lambda _: None,
    *,
    detach: bool = False,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Status:
    """Cancel a job and return its status, which is final unless detached; an ended one stays so.

    `tell` gets a sentence at each step that takes a while.
    """
    job = jobs.read(store, job_id)
    found = jobs.reconcile(store, job_id, compute)
    if found.state.is_final:
        return found
    store.put(layout.cancel(job_id), b"")
    if detach:
        return found
    tell(f"{job_id} is told to stop; waiting until its nodes have saved and ended")
    deadline = clock() + job.task.grace_s + BEYOND_GRACE_S
    while not _is_over(store, compute, job) and clock() < deadline:
        wait(POLL_S)
    tidy.run(store, compute, job, tell, clock=clock, wait=wait)

    def cancelled(now: Status) -> Status | None:
        if not store.exists(layout.cancel(job_id)):
            return None  # somebody has resumed it since
        return dataclasses.replace(now, state=State.CANCELLED, ended_at=status.now())

    return status.change(store, job_id, cancelled)


def _is_over(store: ObjectStore, compute: Compute, job: Job) -> bool:
    """Tell whether nothing of a job is at work any more, its machines' own tidying up included."""
    if is_cut_off(store, compute, job):
        return True
    ended = jobs.observe_status(store, job.id, compute).state.is_final
    return ended and not jobs.has_machines(store, compute, job)
