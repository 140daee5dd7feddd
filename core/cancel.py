"""End a job: ask its nodes through the store, and end what does not answer."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core.follow import wait_for_end
from llmcloud.core.provider import MachineState
from llmcloud.core.reserve import is_cut_off
from llmcloud.runtime import layout, status
from llmcloud.runtime.status import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.core.provider import Compute
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.store import ObjectStore

BEYOND_GRACE_S = 60.0  # to notice the request, and to upload the last checkpoint


def run(
    store: ObjectStore,
    compute: Compute,
    job_id: str,
    *,
    detach: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Status:
    """Cancel a job and return its status, which is final unless detached; an ended one stays so."""
    job = jobs.read(store, job_id)
    found = jobs.reconcile(store, job_id, compute)
    if found.state.is_final:
        return found
    store.put(layout.cancel(job_id), b"")
    if detach:
        return found
    if _has_machines(compute, job_id, job.task.nodes) or not is_cut_off(store, job.name, job_id):
        grace_s = job.task.grace_s + BEYOND_GRACE_S
        found = wait_for_end(
            lambda: jobs.observe(store, job_id, compute).status, grace_s, wait=wait
        )
    compute.delete(job_id)
    return status.change(store, job_id, _cancelled)


def _has_machines(compute: Compute, job_id: str, nodes: int) -> bool:
    return any(m.state is not MachineState.GONE for m in compute.describe(job_id, nodes))


def _cancelled(now: Status) -> Status:
    return dataclasses.replace(now, state=State.CANCELLED, ended_at=status.now())
