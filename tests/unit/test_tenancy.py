"""A node on a rented machine: it goes when it must, and sees that nothing comes after it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from llmcloud.runtime import heartbeat, status, tenancy
from llmcloud.runtime.heartbeat import Heartbeat, Phase
from llmcloud.runtime.machines import Machine
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.task import Task
from llmcloud.runtime.tenancy import Tenancy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llmcloud.runtime.store import ObjectStore

JOB = "n-1"
TASK = Task(JOB, "n", "true", roles=("worker", "worker"))


class Rented(Machine):
    """A machine that notes what it was told to do."""

    def __init__(self, *, is_leaving: bool = False) -> None:
        self._is_leaving = is_leaving
        self.told: list[str] = []

    @property
    def host(self) -> str:
        return "10.0.0.1"

    def rank(self, store: ObjectStore, task: Task) -> int:
        return 0

    def secrets(self, task: Task) -> Mapping[str, str]:
        return {}

    def is_leaving(self) -> bool:
        return self._is_leaving

    def give_up(self) -> None:
        self.told.append("give up")

    def retire(self, *, last: bool) -> None:
        self.told.append("end all" if last else "leave")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setattr(tenancy, "POLL_S", 0.01)
    monkeypatch.setattr(tenancy, "NOTICE_POLL_S", 0.01)
    made = FileStore(tmp_path / "store")
    made.create()
    status.begin(made, Status(JOB, "n", "aws", "vm", "r", State.RUNNING, status.now()))
    return made


def end_job(store: FileStore) -> None:
    status.change(
        store, JOB, lambda now: replace(now, state=State.SUCCEEDED, ended_at=status.now())
    )


def beat(store: FileStore, rank: int, phase: Phase) -> None:
    heartbeat.write(store, JOB, 1, Heartbeat(rank, "worker", "i", status.now(), phase))


def test_a_notice_is_passed_on_once(store: FileStore) -> None:
    left, times = threading.Event(), list[int]()

    def leave() -> None:
        times.append(1)
        left.set()

    with Tenancy(Rented(is_leaving=True), store, TASK, leave):
        assert left.wait(30)
    assert times == [1]


def test_a_machine_that_leaves_a_job_at_work_makes_room(store: FileStore) -> None:
    machine = Rented()
    Tenancy(machine, store, TASK).end(1)
    assert machine.told == ["give up"]


def test_another_node_than_the_first_leaves_by_itself(store: FileStore) -> None:
    end_job(store)
    machine = Rented()
    Tenancy(machine, store, TASK).end(1)
    assert machine.told == ["leave"]


@pytest.mark.parametrize("rank", [0, 2])
def test_the_last_one_waits_for_what_the_others_still_save(store: FileStore, rank: int) -> None:
    """The last one is node 0, or a replacement that came when all places were over."""
    beat(store, 1, Phase.SAVING)
    end_job(store)
    machine = Rented()
    ending = threading.Thread(target=Tenancy(machine, store, TASK).end, args=(rank,))
    ending.start()
    assert machine.told == []
    beat(store, 1, Phase.ENDED)
    ending.join(30)
    assert machine.told == ["end all"]


def test_the_last_one_does_not_wait_for_ever(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenancy, "OTHERS_S", 0.05)
    beat(store, 1, Phase.RUNNING)
    end_job(store)
    machine = Rented()
    Tenancy(machine, store, TASK).end(0)
    assert machine.told == ["end all"]
