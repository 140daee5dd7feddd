"""A name stands for one live job, whoever submits it, and whenever they are cut off."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.snapshots import plan_on

from llmcloud.core.errors import UsageError
from llmcloud.core.job import Job
from llmcloud.core.provider import Machine, MachineState
from llmcloud.core.reserve import Reservation, end_submit, is_cut_off, renewed, reserve
from llmcloud.runtime import layout, process, status
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmcloud.core.provider import Place
    from llmcloud.runtime.store import Blob


class Machines:
    """A provider, as far as a reservation asks it."""

    name = "local"

    def __init__(self, *states: MachineState) -> None:
        self.states = states

    def describe(self, place: Place) -> list[Machine]:
        return [
            Machine(rank, f"{place.job}-{rank}", state) for rank, state in enumerate(self.states)
        ]


NONE: Any = Machines()
GONE: Any = Machines(MachineState.GONE)
SOME: Any = Machines(MachineState.GONE, MachineState.RUNNING)
UNKNOWN: Any = Machines(MachineState.UNKNOWN)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(tmp_path / "store")
    made.create()
    return made


@pytest.fixture
def somebody() -> Iterator[int]:
    """Yield the pid of another process that is at work."""
    child = subprocess.Popen(["sleep", "1000"])
    yield child.pid
    child.kill()
    child.wait()


def mine(job: str, digest: str = "d", *, by: int | None = None) -> Reservation:
    made = Reservation.mine(job, digest)
    if by is None:
        return made
    identity = process.identify(by)
    return dataclasses.replace(made, pid=identity.pid, started=identity.started)


def submitted(store: FileStore, job_id: str, state: State | None) -> Job:
    job = Job(
        id=job_id, name="n", provider="local", service="vm", region=None, store=store.url,
        created_at=status.now(), spec={}, spec_digest="d", plan=plan_on("local"),
        task=Task(job_id, "n", "true"), runtime="r",
    )  # fmt: skip
    store.put(layout.job_document(job_id), job.to_json())
    if state:
        asked = Status(job_id, "n", "local", "vm", None, state, status.now(), launch=1)
        status.begin(store, asked)
    return job


def test_a_free_name_is_taken(store: FileStore) -> None:
    assert reserve(store, NONE, "n", mine("n-1")) == "n-1"


def test_of_many_at_once_one_gets_it(store: FileStore, somebody: int) -> None:
    got: list[str] = []

    def take(number: int) -> None:
        try:
            got.append(reserve(store, NONE, "n", mine(f"n-{number}", by=somebody)))
        except UsageError as error:
            got.append(error.what)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [each for each in got if each.startswith("n-")]
    assert all(winner in each for each in got)


@pytest.mark.parametrize("state", [None, State.SUBMITTED, State.STAGING, State.PROVISIONING])
def test_one_whose_submit_is_at_work_is_in_use(
    store: FileStore, somebody: int, state: State | None
) -> None:
    reserve(store, NONE, "n", mine("n-1", by=somebody))
    job = submitted(store, "n-1", state)
    with pytest.raises(UsageError, match="n-1"):
        reserve(store, NONE, "n", mine("n-2"))
    assert not is_cut_off(store, NONE, job)


@pytest.mark.parametrize("state", [State.PROVISIONING, State.RUNNING, State.PREEMPTED])
@pytest.mark.parametrize("compute", [SOME, UNKNOWN])
def test_one_that_has_machines_is_in_use(store: FileStore, state: State, compute: Any) -> None:
    """A provider that does not know is no proof that they are gone."""
    reserve(store, compute, "n", mine("n-1"))
    job = submitted(store, "n-1", state)
    with pytest.raises(UsageError, match="n-1"):
        reserve(store, compute, "n", mine("n-2"))
    assert not is_cut_off(store, compute, job)


@pytest.mark.parametrize("state", [None, State.SUBMITTED, State.STAGING, State.PROVISIONING])
@pytest.mark.parametrize("compute", [NONE, GONE])
def test_one_that_was_cut_off_is_carried_on_by_the_same_submit(
    store: FileStore, state: State | None, compute: Any
) -> None:
    reserve(store, compute, "n", mine("n-1"))
    job = submitted(store, "n-1", state)
    assert is_cut_off(store, compute, job)
    assert reserve(store, compute, "n", mine("n-2")) == "n-1"


@pytest.mark.parametrize("state", [None, State.SUBMITTED, State.PROVISIONING])
def test_one_that_was_cut_off_is_over_when_something_else_is_submitted(
    store: FileStore, state: State | None
) -> None:
    reserve(store, NONE, "n", mine("n-1"))
    submitted(store, "n-1", state)
    assert reserve(store, NONE, "n", mine("n-2", "other")) == "n-2"
    if state:
        assert status.read(store, "n-1").state is State.LOST
    else:
        assert not store.exists(layout.job_document("n-1"))


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST])
def test_one_that_has_ended_frees_its_name(store: FileStore, state: State) -> None:
    reserve(store, NONE, "n", mine("n-1"))
    job = submitted(store, "n-1", state)
    assert reserve(store, NONE, "n", mine("n-2")) == "n-2"
    assert is_cut_off(store, GONE, job)


def test_a_submit_elsewhere_is_believed_for_a_while(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = dataclasses.replace(mine("n-1"), host="elsewhere")
    reserve(store, NONE, "n", there)
    with pytest.raises(UsageError):
        reserve(store, NONE, "n", mine("n-2"))
    old = dataclasses.replace(there, at_s=there.at_s - 3600)
    store.put(layout.name("n"), old.to_json())
    assert reserve(store, NONE, "n", mine("n-2", "other")) == "n-2"


def test_a_process_does_not_stand_in_its_own_way(store: FileStore) -> None:
    reserve(store, NONE, "n", mine("n-1", by=os.getpid()))
    assert reserve(store, NONE, "n", mine("n-2")) == "n-1"


def test_ending_what_ended_by_itself_changes_nothing(store: FileStore) -> None:
    submitted(store, "n-1", State.SUCCEEDED)
    end_submit(store, "n-1")
    assert status.read(store, "n-1").state is State.SUCCEEDED
    end_submit(store, "n-never")
    with pytest.raises(NotFound):
        status.read(store, "n-never")


def test_a_job_that_lost_its_machines_while_it_ran_frees_its_name(store: FileStore) -> None:
    """As after a reboot: nobody has written down that it is lost."""
    submitted(store, "n-1", State.RUNNING)
    reserve(store, GONE, "n", mine("n-1"))
    assert reserve(store, GONE, "n", mine("n-2")) == "n-2"
    assert status.read(store, "n-1").state is State.LOST


def test_what_another_provider_knows_nothing_of_is_not_lost(store: FileStore) -> None:
    job = submitted(store, "n-1", State.RUNNING)
    elsewhere: Any = Machines(MachineState.GONE)
    elsewhere.name = "aws"
    reserve(store, elsewhere, "n", mine("n-1"))
    with pytest.raises(UsageError):
        reserve(store, elsewhere, "n", mine("n-2"))
    assert status.read(store, job.id).state is State.RUNNING


class Asked(FileStore):
    """A store that tells when it was asked again for what lies there."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.again = threading.Semaphore(0)

    def get(self, key: str) -> Blob:
        self.again.release()
        return super().get(key)

    def await_renewal(self) -> None:
        """Wait until a renewal is through: the next one has begun."""
        for _ in range(2):
            assert self.again.acquire(timeout=60)


@pytest.fixture
def asked(store: FileStore) -> Asked:
    return Asked(store.root)


def test_who_is_long_at_work_is_believed_elsewhere(asked: Asked) -> None:
    """Else gc on another machine would end a job whose data takes an hour to upload."""
    job = submitted(asked, "n-1", State.STAGING)
    long_ago = dataclasses.replace(mine("n-1"), at_s=0.0)
    asked.put(layout.name("n"), long_ago.to_json())
    with renewed(asked, job, every_s=0.001):
        asked.await_renewal()
    found = Reservation.from_json(asked.get(layout.name("n")).data, "n")
    assert found == dataclasses.replace(long_ago, at_s=found.at_s)
    assert dataclasses.replace(found, host="elsewhere").is_held


def test_a_name_that_is_somebody_elses_by_now_stays_theirs(asked: Asked, somebody: int) -> None:
    job = submitted(asked, "n-1", State.STAGING)
    theirs = mine("n-1", by=somebody).to_json()
    asked.put(layout.name("n"), theirs)
    with renewed(asked, job, every_s=0.001):
        asked.await_renewal()
    assert asked.get(layout.name("n")).data == theirs
