"""What lies in a store may be damaged, or written by another version: no reader breaks on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from llmcloud.core import job as jobs
from llmcloud.core import listing, metrics, outputs
from llmcloud.core.logs import LogReader
from llmcloud.core.reserve import Reservation
from llmcloud.core.sync import Options
from llmcloud.runtime import heartbeat, journal, layout, status
from llmcloud.runtime.checkpoints import gather
from llmcloud.runtime.checkpoints.gather import Request
from llmcloud.runtime.errors import Failure, Unreadable
from llmcloud.runtime.heartbeat import Heartbeat
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.task import CheckpointPolicy, DataSource, MetricPattern, Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAMAGED = [b"", b"{", b"[]", b"7", b"{}", b"\xff", b"[" * 100_000]
TASK = Task(
    job="a-1",
    name="a",
    run="true",
    data=(DataSource("data/x/", "data"),),
    checkpoints=CheckpointPolicy(keep=7),
    metrics=(MetricPattern("loss", "(.*)"),),
)
READERS: dict[str, Callable[[FileStore], object]] = {
    layout.job_document("a-1"): lambda store: jobs.read(store, "a-1"),
    layout.status("a-1"): lambda store: status.read(store, "a-1"),
    layout.node("a-1", 1, 0): lambda store: heartbeat.read(store, "a-1", 1, 0),
    layout.journal("a-1", 1, "vm", "x"): lambda store: journal.read(store, "a-1"),
    layout.checkpoint_wanted("a-1", 1): lambda store: gather.requested(store, "a-1", 1),
}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "store")
    store.create()
    return store


def newer(document: bytes) -> bytes:
    """Return a document, and all in it, with a field that this version does not know."""

    def add(part: object) -> object:
        if isinstance(part, list):
            return [add(each) for each in part]
        if isinstance(part, dict):
            return {**{key: add(value) for key, value in part.items()}, "color": "blue"}
        return part

    return json.dumps(add(json.loads(document))).encode()


@pytest.mark.parametrize("key", READERS)
@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_document_is_a_failure_that_names_it(
    store: FileStore, key: str, damaged: bytes
) -> None:
    store.put(key, damaged)
    with pytest.raises(Unreadable) as caught:
        READERS[key](store)
    assert caught.value.where == key
    assert caught.value.fix


def test_a_task_of_a_newer_version_is_read() -> None:
    assert Task.from_json(newer(TASK.to_json())) == Task(
        **{**vars(TASK), "hyperparameters": {"color": "blue"}, "env": {"color": "blue"}}
    )


def test_a_task_of_an_older_version_has_the_defaults_of_what_it_lacks() -> None:
    assert Task.from_json(b'{"job": "a-1", "name": "a", "run": "true"}') == Task("a-1", "a", "true")


def test_a_heartbeat_of_a_newer_version_is_read() -> None:
    beat = Heartbeat(0, "worker", "x", status.now(), checkpoints=(1, 2))
    assert Heartbeat.from_json(newer(beat.to_json())).checkpoints == (1, 2)


def test_a_reservation_of_a_newer_version_is_read() -> None:
    mine = Reservation.mine("a-1", "digest")
    assert Reservation.from_json(newer(mine.to_json()), "names/a.json") == mine


def test_a_request_of_a_newer_version_is_read(store: FileStore) -> None:
    store.put(layout.checkpoint_wanted("a-1", 1), b'{"step": 4, "in_place": false, "color": 1}')
    assert gather.requested(store, "a-1", 1) == Request(4, in_place=False)


def test_metrics_lines_that_are_none_are_passed_over(store: FileStore) -> None:
    lines = b'{"torn\n[1]\n\xff\n{"ts": "2026-01-01T00:00:00Z", "step": 3, "loss": 2.5}\n{}\n'
    store.put(layout.segment(layout.stream("a-1", "metrics", 1, 0), 0), lines)
    assert metrics.latest(store, "a-1")["loss"] == 2.5
    reader = metrics.MetricsReader(store, "a-1")
    reader.poll()
    assert reader.history.progress().step == 3


def test_a_listed_job_tells_its_latest_metrics_also_when_it_has_ended(store: FileStore) -> None:
    for job in ("a-1", "b-1"):
        status.begin(store, Status(job, "a", "local", "vm", None, State.FAILED, status.now()))
    lines = b'{"ts": "2026-01-01T00:00:00Z", "step": 3, "loss": 2.5}\n'
    store.put(layout.segment(layout.stream("a-1", "metrics", 1, 0), 0), lines)
    listed = listing.find([store], lambda _: pytest.fail("nothing is live"))
    latest = {each.status.job: each.latest() for each in listed}
    assert (latest["a-1"]["loss"], latest["b-1"]) == (2.5, {})


def test_a_damaged_job_hides_no_other_job(store: FileStore) -> None:
    status.begin(store, Status("a-1", "a", "local", "vm", None, State.FAILED, status.now()))
    store.put(layout.status("b-1"), b"{")
    warned: list[Failure] = []
    listed = listing.find([store], lambda _: pytest.fail("nothing is live"), warned.append)
    assert [each.status.job for each in listed] == ["a-1"]
    assert [failure.where for failure in warned] == [layout.status("b-1")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"created_at": "yesterday"},
        {"created_at": None},
        {"ended_at": 5},
        {"attempt": "one"},
        {"exit_code": {}},
        {"name": 5},
        {"job": "\x1b[2J"},
    ],
)
def test_a_status_of_wrong_values_is_damaged(wrong: dict[str, object]) -> None:
    right = Status("a-1", "a", "local", "vm", None, State.RUNNING, status.now())
    document = json.loads(right.to_json())
    assert Status.from_json(json.dumps(document).encode()) == right
    with pytest.raises(Unreadable):
        Status.from_json(json.dumps({**document, **wrong}).encode())


def test_what_is_no_number_among_a_jobs_folders_is_passed_over(
    store: FileStore, tmp_path: Path
) -> None:
    for key in ("logs/trash/x", "logs/0001/trash/x", "metrics/trash/x", "metrics/0001/trash/x"):
        store.put(f"jobs/a-1/{key}", b"1")
    store.put(layout.stream("a-1", "logs", 1, 0) + "trash", b"1")
    store.put(layout.outputs("a-1", 0) + "model", b"1")
    store.put(layout.outputs("a-1") + "trash/x", b"1")
    reader = LogReader(store, "a-1")
    reader.skip_until(0.0)
    reader.skip_until(4e9)
    reader.skip_to_tail(1)
    assert list(reader.poll()) == []
    assert metrics.latest(store, "a-1") == {}
    outputs.pull(store, "a-1", tmp_path / "here", Options())
    assert [each.name for each in (tmp_path / "here").iterdir()] == ["model"]
