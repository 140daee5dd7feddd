"""One node's part in an attempt, where it ends before a training begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.runtime import attempt, heartbeat, layout, status
from llmcloud.runtime.attempt import Attempt
from llmcloud.runtime.heartbeat import Heartbeat, Outcome, Phase
from llmcloud.runtime.seat import Seat
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.supervise import Reason, Stop
from llmcloud.runtime.task import DataSource, Task

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

JOB = "j-1"


def seat(folder: Path, **changes: object) -> Seat:
    store = FileStore(folder / "store")
    store.create()
    status.begin(store, Status(JOB, "j", "local", "vm", None, State.PROVISIONING, status.now()))
    task = Task(JOB, "j", "true", **{"roles": ("worker", "worker"), **changes})  # type: ignore[arg-type]
    (folder / "work").mkdir()
    return Seat(store, task, 0, folder / "work", folder / "venvs", "127.0.0.1", "i", None)


def test_a_node_that_never_gets_ready_fails_the_attempt_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "MEET_TIMEOUT_S", 0.5)
    place = seat(tmp_path)
    heartbeat.write(place.store, JOB, 1, Heartbeat(1, "worker", "i", "t", Phase.FETCHING))
    ending = Attempt(place, 1, Stop()).take_part()
    assert (ending.phase, ending.outcome) == (Phase.ENDED, Outcome.FAILED)
    assert "Not all 2 nodes were ready" in str(ending.error)
    written = heartbeat.read(place.store, JOB, 1, 0)
    assert written
    assert (written.phase, written.error) == (Phase.ENDED, ending.error)


def test_a_stop_ends_the_wait_for_the_others(tmp_path: Path) -> None:
    place, stop = seat(tmp_path), Stop()
    stop.ask(Reason.PREEMPTED)
    assert Attempt(place, 1, stop).take_part().outcome is Outcome.PREEMPTED


def test_code_that_is_not_in_the_store_is_named(tmp_path: Path) -> None:
    place = seat(tmp_path, roles=("worker",), code="0" * 64)
    ending = Attempt(place, 1, Stop()).take_part()
    assert ending.outcome is Outcome.FAILED
    assert layout.code("0" * 64) in str(ending.error)


def test_data_that_cannot_be_put_in_place_is_named(tmp_path: Path) -> None:
    source = DataSource(f"file://{tmp_path}/nowhere", "data")
    place = seat(tmp_path, roles=("worker",), data=(source,))
    ending = Attempt(place, 1, Stop()).take_part()
    assert ending.outcome is Outcome.FAILED
    assert "nowhere" in str(ending.error)
    assert not place.code.exists()


def test_what_is_said_by_two_threads_at_once_is_not_lost(tmp_path: Path) -> None:
    """The watch repeats a heartbeat while the stages change it."""
    from concurrent.futures import ThreadPoolExecutor

    place = seat(tmp_path)
    made = Attempt(place, 1, Stop())
    with ThreadPoolExecutor(2) as threads:
        for number in range(60):
            repeated = threads.submit(made._say)
            changed = threads.submit(made._say, resume_step=number)
            repeated.result()
            changed.result()
            found = heartbeat.read(place.store, JOB, 1, 0)
            assert found
            assert found.resume_step == number
