"""What becomes of a job when an attempt has ended."""

from __future__ import annotations

import dataclasses

import pytest

from llmcloud.runtime.heartbeat import Heartbeat, Outcome
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.task import Task
from llmcloud.runtime.verdict import MAX_ATTEMPTS, judge

RUNNING = Status("j", "j", "local", "vm", None, State.RUNNING, "2026-01-01T00:00:00.000Z")
S, F, C, E, P, L, X = (
    *(Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.EXPIRED),
    *(Outcome.PREEMPTED, Outcome.LOST, Outcome.STOPPED),
)


def verdict(*outcomes: Outcome, now: Status = RUNNING, retries: int = 0) -> Status:
    return judge(task(*["worker"] * len(outcomes), retries=retries), now, endings(*outcomes))


def task(*roles: str, retries: int = 0) -> Task:
    return Task("j", "j", "true", roles=roles, retries=retries, max_duration_s=60.0)


def endings(*outcomes: Outcome, roles: tuple[str, ...] = ()) -> list[Heartbeat]:
    roles = roles or ("worker",) * len(outcomes)
    return [
        Heartbeat(rank, role, "i", "t", outcome=outcome, exit_code=3, error=f"error {rank}")
        for rank, (role, outcome) in enumerate(zip(roles, outcomes, strict=True))
    ]


def test_a_job_has_succeeded_when_every_node_has() -> None:
    ended = verdict(S, S)
    assert (ended.state, ended.exit_code, ended.error) == (State.SUCCEEDED, 0, None)
    assert ended.ended_at


@pytest.mark.parametrize("outcomes", [(C, S), (X, C), (F, C), (L, C), (E, C)])
def test_a_cancelled_node_makes_the_job_cancelled_whatever_the_others_say(
    outcomes: tuple[Outcome, ...],
) -> None:
    assert verdict(*outcomes, retries=5).state is State.CANCELLED


def test_an_expired_job_has_failed_and_is_not_tried_again() -> None:
    ended = verdict(X, E, retries=5)
    assert ended.state is State.FAILED
    assert "limits.max_duration (60s)" in str(ended.error)


@pytest.mark.parametrize("outcomes", [(X, L), (F, L), (S, P), (X, P)])
def test_a_lost_machine_costs_no_retry_even_if_its_peers_failed_for_it(
    outcomes: tuple[Outcome, ...],
) -> None:
    after = verdict(*outcomes)
    assert (after.state, after.attempt, after.failures) == (State.PROVISIONING, 2, 0)
    assert "node 1 was" in str(after.error)


def test_a_failure_costs_a_retry_and_the_last_one_ends_the_job() -> None:
    after = verdict(X, F, retries=1)
    assert (after.state, after.attempt, after.failures) == (State.PROVISIONING, 2, 1)
    ended = verdict(F, S, now=dataclasses.replace(after, state=State.RUNNING), retries=1)
    assert (ended.state, ended.attempt, ended.failures) == (State.FAILED, 2, 2)
    assert (ended.exit_code, ended.error) == (3, "error 0")


def test_machines_that_go_away_for_ever_are_given_up() -> None:
    ended = verdict(S, L, now=dataclasses.replace(RUNNING, attempt=MAX_ATTEMPTS))
    assert ended.state is State.FAILED
    assert "node 1 was lost" in str(ended.error)


ROLES = ("chief", "worker", "ps", "evaluator")


@pytest.mark.parametrize("helpers", [(S, S), (F, S), (L, X), (C, F)])
def test_helpers_need_not_end_well_when_the_others_are_done(
    helpers: tuple[Outcome, ...],
) -> None:
    ended = judge(task(*ROLES), RUNNING, endings(S, S, *helpers, roles=ROLES))
    assert ended.state is State.SUCCEEDED


def test_helpers_may_still_be_at_work_when_the_others_are_done() -> None:
    ended = judge(task(*ROLES), RUNNING, endings(S, S, roles=ROLES[:2]))
    assert ended.state is State.SUCCEEDED


def test_a_helper_that_fails_is_why_the_others_were_stopped() -> None:
    ended = judge(task(*ROLES), RUNNING, endings(X, X, F, X, roles=ROLES))
    assert (ended.state, ended.error) == (State.FAILED, "error 2")
