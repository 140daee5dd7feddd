"""What a job has goes once it has ended, and never what it got since: somebody may resume it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig import snapshots

from llmcloud.core import cancel, gc, resume, tidy
from llmcloud.core import job as jobs
from llmcloud.core.errors import UsageError
from llmcloud.core.provider import Leftover, Machine, MachineState
from llmcloud.runtime import journal, layout, status
from llmcloud.runtime.journal import Stage
from llmcloud.runtime.seats import Seats
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmcloud.core.provider import Place

ID = "n-1"
ENDED = Status(
    ID, "n", "aws", "vm", None, State.FAILED, status.now(), ended_at=status.now(), launch=1
)


class Cloud:
    """A provider whose machines take a look to go; `meanwhile` is what others do then."""

    name = "aws"
    tidies_up = False

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.deletes = 0

    def delete(self, _: Place) -> bool:
        self.deletes += 1
        if self.deletes == 1:
            self.meanwhile()
        return self.deletes > 1

    def describe(self, _: Place) -> list[Machine]:
        return [Machine(0, "m", MachineState.GONE)]

    def zones(self, *_: object) -> list[str | None]:
        return [None]

    def launch(self, _: object) -> list[Machine]:
        return [Machine(0, "m", MachineState.RUNNING)]

    def stores(self) -> list[str]:
        return []

    def leftovers(self, live: frozenset[str], _: frozenset[str]) -> list[Leftover]:
        return [] if ID in live else [Leftover("role", "r", ID)]


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(tmp_path / "store")
    made.create()
    snapshots.put_job(made, ENDED)
    journal.intend(made, ID, journal.MACHINES, f"{ID}-1", "aws")
    return made


def resumed(store: FileStore) -> Status:
    """Do what a resume does before it asks for machines."""

    def again(now: Status) -> Status:
        changed: dict[str, Any] = {"attempt": now.attempt + 1, "launch": now.launch + 1}
        return dataclasses.replace(now, state=State.PROVISIONING, ended_at=None, **changed)

    store.delete(layout.cancel(ID))
    return status.change(store, ID, again)


def tidy_up(store: FileStore, cloud: Any) -> None:
    tidy.run(store, cloud, jobs.read(store, ID), wait=lambda _: None)


def test_all_of_a_job_that_has_ended_goes(store: FileStore) -> None:
    cloud = Cloud()
    tidy_up(store, cloud)
    assert cloud.deletes == 2
    assert [each.stage for each in journal.read(store, ID)] == [Stage.DELETED]


def test_a_job_that_is_resumed_meanwhile_keeps_its_new_machines(store: FileStore) -> None:
    cloud = Cloud(lambda: resumed(store))
    tidy_up(store, cloud)
    assert cloud.deletes == 1


def test_one_that_is_cancelled_as_well_does_not(store: FileStore) -> None:
    def both() -> None:
        resumed(store)
        store.put(layout.cancel(ID), b"")

    cloud = Cloud(both)
    tidy_up(store, cloud)
    assert cloud.deletes == 2


def test_a_cancel_leaves_a_job_alone_that_is_resumed_meanwhile(store: FileStore) -> None:
    running = dataclasses.replace(ENDED, attempt=2, state=State.RUNNING, ended_at=None)
    status.change(store, ID, lambda _: running)
    cloud: Any = Cloud(lambda: resumed(store))
    cloud.describe = lambda _: [Machine(0, "m", MachineState.RUNNING)]
    seconds = iter(range(0, 100_000, 100))
    found = cancel.run(store, cloud, ID, clock=lambda: next(seconds), wait=lambda _: None)
    assert found.state is State.PROVISIONING
    assert cloud.deletes == 1


def test_of_two_resumes_one_starts_machines(store: FileStore) -> None:
    cloud: Any = Cloud(lambda: resumed(store))
    cloud.launch = lambda _: pytest.fail("There would be machines twice.")
    with pytest.raises(UsageError, match="it is provisioning"):
        resume.run(store, cloud, ID, {})
    assert status.read(store, ID).attempt == 2


def test_the_machines_of_a_resumed_job_need_not_wait_for_those_of_before(store: FileStore) -> None:
    """Which are gone: on spot each would listen for a minute, at a cost."""
    store.put(layout.seat(ID, 0), b'{"machine": "before"}')
    resume.run(store, Cloud(), ID, {})
    assert Seats(store, ID, 1, "new", wait=lambda _: pytest.fail("It waits.")).claim() == 0


def test_what_gc_found_of_a_job_stays_once_it_is_resumed(store: FileStore) -> None:
    cloud: Any = Cloud()
    cloud.remove = lambda _: pytest.fail("It is at work again.")
    found = gc.find([store], [cloud], lambda failure: pytest.fail(str(failure)))
    assert {each.leftover.kind for each in found} == {"role", journal.MACHINES}
    resumed(store)
    cloud.describe = lambda _: [Machine(0, "m", MachineState.RUNNING)]
    for each in found:
        each.remove()
    assert cloud.deletes == 0


def test_a_store_that_nobody_has_made_keeps_gc_from_nothing(store: FileStore) -> None:
    removed: list[Leftover] = []
    cloud: Any = Cloud()
    cloud.remove = lambda leftover: removed.append(leftover) or True
    stores = [FileStore(store.root.with_name("absent")), store]
    for each in gc.find(stores, [cloud], lambda failure: pytest.fail(str(failure))):
        each.remove()
    assert [each.kind for each in removed] == ["role"]
