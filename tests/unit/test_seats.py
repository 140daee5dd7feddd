"""Machines come and go; each node of a job has one at a time, and never two."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from llmcloud.runtime import heartbeat, layout, seats, status
from llmcloud.runtime.heartbeat import Heartbeat, Phase
from llmcloud.runtime.seats import Seats
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

JOB = "n-1"


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(tmp_path / "store")
    made.create()
    status.begin(made, Status(JOB, "n", "aws", "vm", "r", State.RUNNING, status.now()))
    return made


class Clock:
    """A clock that goes on by what is waited for; `then` is done at each wait."""

    def __init__(self, *then: object) -> None:
        self.now_s, self.then = 0.0, list(then)

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        if self.then:
            do = self.then.pop(0)
            if callable(do):
                do()


def seated(store: FileStore, me: str, clock: Clock | None = None, nodes: int = 2) -> Seats:
    clock = clock or Clock()
    return Seats(store, JOB, nodes, me, clock, clock.wait)


def beat(store: FileStore, rank: int, at: str, phase: Phase = Phase.RUNNING) -> None:
    heartbeat.write(store, JOB, 1, Heartbeat(rank, "worker", "i", at, phase))


def test_machines_that_come_at_once_get_one_place_each(store: FileStore) -> None:
    got: list[int | None] = []
    machines = [
        threading.Thread(target=lambda n=n: got.append(seated(store, f"m-{n}", nodes=8).claim()))
        for n in range(8)
    ]
    for each in machines:
        each.start()
    for each in machines:
        each.join()
    assert sorted(rank for rank in got if rank is not None) == list(range(8))


def test_a_machine_that_starts_again_has_its_place(store: FileStore) -> None:
    assert seated(store, "a").claim() == 0
    assert seated(store, "b").claim() == 1
    assert seated(store, "b").claim() == 1


def test_a_place_that_was_given_up_is_free(store: FileStore) -> None:
    first = seated(store, "a")
    assert first.claim() == 0
    assert seated(store, "b").claim() == 1
    first.give_up(0)
    assert seated(store, "c").claim() == 0


def test_only_ones_own_place_can_be_given_up(store: FileStore) -> None:
    first = seated(store, "a")
    assert first.claim() == 0
    seated(store, "b").give_up(0)
    assert first.claim() == 0


def test_a_silent_node_is_replaced_and_no_sooner_than_it_is_silent(store: FileStore) -> None:
    """Both places are taken; node 1 goes on to say something, node 0 does not."""
    for rank, machine in enumerate("ab"):
        assert seated(store, machine).claim() == rank
        beat(store, rank, "0")
    ticks = [lambda n=n: beat(store, 1, str(n)) for n in range(1, 100)]
    clock = Clock(*ticks)
    assert seated(store, "c", clock).claim() == 0
    assert clock.now_s > seats.SILENT_S


def test_nobody_is_replaced_whose_last_words_are_old_but_who_was_not_listened_to(
    store: FileStore,
) -> None:
    """Only this machine's own clock counts: another one's time may be anything."""
    assert seated(store, "a", nodes=1).claim() == 0
    beat(store, 0, "1970")
    clock = Clock(*[lambda n=n: beat(store, 0, f"{n}") for n in range(40)])
    clock.then.append(lambda: seated(store, "a", nodes=1).give_up(0))
    assert seated(store, "b", clock, nodes=1).claim() == 0
    assert len(clock.then) == 0


def test_two_that_wait_for_one_place_do_not_both_get_it(store: FileStore) -> None:
    assert seated(store, "a", nodes=1).claim() == 0
    waiting = [seated(store, each, nodes=1) for each in "bc"]
    for each in waiting:
        each._take(0, 1)  # both have listened from the same time
        each.clock.now_s = seats.SILENT_S + 1  # type: ignore[attr-defined]
    assert [each._take(0, 1) for each in waiting] == [True, False]


def test_nobody_is_needed_when_the_job_has_ended(store: FileStore) -> None:
    status.change(
        store, JOB, lambda now: replace(now, state=State.SUCCEEDED, ended_at=status.now())
    )
    assert seated(store, "late").claim() is None
    assert not store.exists(layout.seat(JOB, 0))
