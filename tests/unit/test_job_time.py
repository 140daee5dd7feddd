"""How long a job has run, what that costs, and when a lost one was last heard of."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from tests.rig import snapshots

from llmcloud.core import job as jobs
from llmcloud.core.job import View
from llmcloud.core.provider import Compute, Machine, MachineState
from llmcloud.runtime import heartbeat, layout, status
from llmcloud.runtime.errors import NoCapacity, Unreadable
from llmcloud.runtime.heartbeat import Heartbeat, Phase
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.provider import Place
    from llmcloud.runtime.objects import Blob

JOB = "a-1"
START = status.epoch_s("2026-11-21T08:00:00.000Z")
RUNNING = Status(
    JOB, "a", "local", "vm", None, State.RUNNING, status.rfc3339(START - 60), attempt=2, launch=1
)


def at(second: float) -> str:
    return status.rfc3339(START + second)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (RUNNING, None),
        (replace(RUNNING, started_at=at(0)), 100.0),
        (replace(RUNNING, started_at=at(0), ended_at=at(40)), 40.0),
        (replace(RUNNING, started_at=at(90), ran_s=40.0), 50.0),
        (replace(RUNNING, started_at=at(90), ran_s=40.0, ended_at=at(95)), 45.0),
        (replace(RUNNING, ran_s=40.0), 40.0),
        (replace(RUNNING, started_at=at(0), ended_at=at(-1), ran_s=40.0), 40.0),
    ],
)
def test_a_job_ran_while_it_ran_and_not_while_it_waited_to_be_resumed(
    seen: Status, wanted: float | None
) -> None:
    assert jobs.ran_s(seen, START + 100) == wanted


def test_only_the_time_that_a_job_ran_costs() -> None:
    seen = replace(RUNNING, started_at=at(7200), ran_s=1800.0)
    view = View(seen, [], {}, price_usd_per_hour=2.0)
    assert jobs.cost_usd(view, START + 7200 + 1800) == 2.0
    assert jobs.cost_usd(replace(view, status=RUNNING), START) is None


@pytest.mark.parametrize("wrong", ["1", None, -1.0, float("nan"), float("inf")])
def test_a_span_that_is_none_is_damage(wrong: object) -> None:
    document = replace(RUNNING, ran_s=cast("float", wrong)).to_json()
    with pytest.raises(Unreadable):
        Status.from_json(document)


class Gone:
    """A provider whose machines are gone."""

    def describe(self, place: Place) -> list[Machine]:
        return [Machine(rank, f"m{rank}", MachineState.GONE) for rank in range(place.nodes)]


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "store")
    store.create()
    snapshots.put_job(store, replace(RUNNING, started_at=at(0)))
    set_time(store, layout.status(JOB), 1)
    return store


def set_time(store: FileStore, key: str, second: float) -> None:
    os.utime(store.root / key, (START + second, START + second))


def ended_at(store: FileStore) -> str | None:
    seen = jobs.observe_status(store, JOB, cast("Compute", Gone()))
    assert seen.state is State.LOST
    return seen.ended_at


def test_a_lost_job_ended_when_the_last_of_its_nodes_was_heard(store: FileStore) -> None:
    for attempt, rank, second in ((1, 2, 900), (2, 0, 300), (2, 1, 200)):
        heartbeat.write(store, JOB, attempt, Heartbeat(rank, "worker", "i", at(0), Phase.RUNNING))
        set_time(store, layout.node(JOB, attempt, rank), second)
    assert ended_at(store) == at(300)
    jobs.reconcile(store, JOB, cast("Compute", Gone()))
    assert status.read(store, JOB).ended_at == at(300)


def test_a_lost_job_whose_nodes_were_never_heard_ended_when_its_state_was_written(
    store: FileStore,
) -> None:
    assert ended_at(store) == at(1)


def test_a_heartbeat_that_a_crash_cut_off_keeps_no_job_from_being_lost(store: FileStore) -> None:
    key = layout.node(JOB, 2, 0)
    store.put(key, b"")
    set_time(store, key, 60)
    assert ended_at(store) == at(60)


class Short:
    """A provider that has no machines for now, and goes on trying."""

    def describe(self, _: Place) -> list[Machine]:
        raise NoCapacity("Nothing here.")


def test_a_job_whose_machines_are_to_come_is_not_lost_however_long_it_takes(
    store: FileStore,
) -> None:
    set_time(store, layout.status(JOB), -1_000_000)
    view = jobs.observe(store, JOB, cast("Compute", Short()))
    assert view.status.state is State.RUNNING
    assert [each.state for each in view.machines] == [MachineState.COMING]
    assert view.machines[0].detail == "Nothing here."


def test_a_look_at_a_job_reads_its_document_once(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []
    get = FileStore.get

    def counted(self: FileStore, key: str) -> Blob:
        keys.append(key)
        return get(self, key)

    monkeypatch.setattr(FileStore, "get", counted)
    jobs.observe(store, JOB, cast("Compute", Gone()))
    assert keys.count(layout.job_document(JOB)) == 1


def test_a_job_costs_from_when_its_machines_were_asked_for() -> None:
    """They cost while they boot, and while the job sets up; a setup of hours is not for nothing."""
    asked = replace(RUNNING, launched_at=at(0), started_at=at(3600))
    view = jobs.View(asked, [], {}, price_usd_per_hour=2.0)
    assert jobs.cost_usd(view, START + 7200) == 4.0
    setting_up = replace(view, status=replace(asked, started_at=None))
    assert jobs.cost_usd(setting_up, START + 1800) == 1.0
