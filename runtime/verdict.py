"""What becomes of a job when an attempt has ended: a pure decision, taken by node 0 alone."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llmcloud.runtime.heartbeat import Outcome
from llmcloud.runtime.status import State, Status, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.runtime.heartbeat import Heartbeat
    from llmcloud.runtime.task import Task

HELPERS = {"ps", "evaluator"}  # they serve until the others are done, and then need not end well
MAX_ATTEMPTS = 1000  # of machines that go away again and again


def decides(rank: int, role: str) -> bool:
    """Tell whether the job waits for this node to end by itself."""
    return rank == 0 or role not in HELPERS


def judge(task: Task, status: Status, endings: Sequence[Heartbeat]) -> Status:
    """Return the status after an attempt whose nodes ended so; a helper may be missing.

    An attempt that the job's own code failed costs a retry; one that lost a machine does not.
    """
    if all(e.outcome is Outcome.SUCCEEDED for e in endings if decides(e.rank, e.role)):
        return _end(status, State.SUCCEEDED, exit_code=0)
    outcomes = {ending.outcome for ending in endings}
    if Outcome.CANCELLED in outcomes:
        return _end(status, State.CANCELLED)
    if Outcome.EXPIRED in outcomes:
        limit = f"{task.max_duration_s:g}s" if task.max_duration_s else "its limit"
        return _end(status, State.FAILED, error=f"The job ran into limits.max_duration ({limit}).")
    if outcomes & {Outcome.PREEMPTED, Outcome.LOST}:  # the others may have failed because of it
        return _after_loss(status, endings)
    failed = [ending for ending in endings if ending.outcome is Outcome.FAILED]
    if failed:
        return _after_failure(task, status, failed[0])
    return _after_loss(status, endings)


def _after_failure(task: Task, status: Status, ending: Heartbeat) -> Status:
    failures = status.failures + 1
    if failures > task.retries:
        ended = _end(status, State.FAILED, exit_code=ending.exit_code, error=ending.error)
        return dataclasses.replace(ended, failures=failures)
    return dataclasses.replace(next_attempt(status), failures=failures, error=ending.error)


def _after_loss(status: Status, endings: Sequence[Heartbeat]) -> Status:
    lost = [e for e in endings if e.outcome in {Outcome.PREEMPTED, Outcome.LOST}]
    gone = ", ".join(
        f"node {ending.rank} was {ending.outcome.value}" for ending in lost if ending.outcome
    )
    if status.attempt >= MAX_ATTEMPTS:
        return _end(status, State.FAILED, error=f"Gave up after {status.attempt} attempts: {gone}.")
    return dataclasses.replace(next_attempt(status), error=gone or None)


def next_attempt(status: Status) -> Status:
    """Return the status that asks every node to start over."""
    return dataclasses.replace(status, attempt=status.attempt + 1, state=State.PROVISIONING)


def _end(
    status: Status, state: State, *, exit_code: int | None = None, error: str | None = None
) -> Status:
    return dataclasses.replace(
        status, state=state, ended_at=now(), exit_code=exit_code, error=error
    )
