"""Run a job that has ended on, as its next attempt."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core import submit, tidy
from llmcloud.core.errors import UsageError
from llmcloud.core.launch import Launcher
from llmcloud.core.reserve import Reservation, is_cut_off, renewed, reserve
from llmcloud.runtime import layout, status
from llmcloud.runtime.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Compute
    from llmcloud.runtime.store import ObjectStore


def run(
    store: ObjectStore,
    compute: Compute,
    job_id: str,
    environ: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
) -> Job:
    """Start the next attempt of a job and return the job; `tell` as for a submit.

    UsageError when it is alive, or another job has its name by now.
    """
    job = jobs.read(store, job_id)
    values = submit.secrets(job.task.secrets, environ)
    found = jobs.reconcile(store, job_id, compute)
    if found.state is State.SUCCEEDED:
        raise UsageError(
            f"{job_id} has succeeded: there is nothing to carry on.",
            fix="Submit the job file again; it becomes a new job.",
        )
    if not found.state.is_final and not is_cut_off(store, compute, job):
        raise _alive(found)
    reserve(store, compute, job.name, Reservation.mine(job_id, job.spec_digest))
    tidy.run(store, compute, job)
    store.delete(layout.cancel(job_id))
    launched_at = status.now()

    def next_attempt(now: Status) -> Status | None:
        if (now.attempt, now.launch) != (found.attempt, found.launch):
            return None  # somebody else resumes it
        return dataclasses.replace(
            now,
            attempt=now.attempt + 1,
            state=State.PROVISIONING,
            failures=0,
            ran_s=jobs.ran_s(now) or 0.0,
            launch=now.launch + 1,
            offer=0,
            zone=None,
            launched_at=launched_at,
            started_at=None,
            ended_at=None,
            exit_code=None,
            error=None,
        )

    begun = status.change(store, job_id, next_attempt)
    if (begun.attempt, begun.launched_at) != (found.attempt + 1, launched_at):
        raise _alive(begun)
    # Else each new machine would wait, at a cost, for word from one that is gone.
    store.delete_all([entry.key for entry in store.objects(layout.seats(job_id))])
    with renewed(store, job):
        Launcher(store, compute, job, values, tell).run(begun)
    return job


def _alive(found: Status) -> UsageError:
    return UsageError(
        f"{found.job} has not ended: it is {found.state.value}.",
        fix=f"llmcloud logs -f {found.job}, or llmcloud cancel {found.job} first.",
    )
