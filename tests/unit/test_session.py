"""What a command takes for a store and for a job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rig import snapshots

from llmcloud.cli.session import OpenJob, Session
from llmcloud.cli.stay import Patience
from llmcloud.core import job as jobs
from llmcloud.core.errors import UsageError
from llmcloud.core.home import Home
from llmcloud.core.provider import Machine, MachineState
from llmcloud.runtime import journal, status
from llmcloud.runtime.errors import NotFound, PermissionDenied
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.provider import Place


def session(root: Path, store_url: str) -> Session:
    return Session(Home(root, root / "config.yaml"), store_url)


@pytest.mark.parametrize(
    "url", ["http://x", "s3://b/prefix", "relative", "/a/path", "file://host/x"]
)
def test_a_store_that_can_be_none_is_a_mistake_of_the_call(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="--store"):
        _ = session(tmp_path, url).store


def test_a_store_that_was_named_and_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        _ = session(tmp_path, f"file://{tmp_path}/typo").stores


def test_a_job_without_a_name_is_not_the_only_job_there_is(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.create()
    store.put("jobs/one-234567/status.json", b"{}")
    with pytest.raises(UsageError):
        jobs.find(store, "")
    assert jobs.find(store, "o") == "one-234567"


def store_with(root: Path, **jobs_made_at: str) -> FileStore:
    """Return a store that has these jobs; `_` stands for the `-` of an id."""
    store = FileStore(root)
    store.create()
    for name, at in jobs_made_at.items():
        job = name.replace("_", "-")
        status.begin(store, Status(job, job, "aws", "vm", None, State.RUNNING, created_at=at))
    return store


OLD, NEW = "2026-08-01T00:00:00.000Z", "2026-08-02T00:00:00.000Z"


def test_of_jobs_of_a_name_in_several_stores_the_newest_is_meant(tmp_path: Path) -> None:
    """The older one may have ended long ago, while the newer one bills."""
    here = store_with(tmp_path / "a", gpt_222222=OLD, gpt_tiny_222222=NEW)
    there = store_with(tmp_path / "b", gpt_333333=NEW)
    assert jobs.find_in([here, there], "gpt") == (there, "gpt-333333")
    assert jobs.find_in([there, here], "gpt") == (there, "gpt-333333")
    assert jobs.find_in([here, there], "gpt-222222") == (here, "gpt-222222")


def test_a_name_goes_before_the_beginning_of_one_in_another_store(tmp_path: Path) -> None:
    here = store_with(tmp_path / "a", gpt_tiny_222222=NEW)
    there = store_with(tmp_path / "b", gpt_333333=OLD)
    assert jobs.find_in([here, there], "gpt") == (there, "gpt-333333")


def test_a_job_that_is_nowhere_is_told_with_what_any_store_has(tmp_path: Path) -> None:
    here, there = store_with(tmp_path / "a"), store_with(tmp_path / "b", llama_222222=OLD)
    with pytest.raises(NotFound) as missing:
        jobs.find_in([here, there], "lama")
    assert missing.value.fix.startswith("Did you mean llama or")
    assert missing.value.where == f"{here.url}, {there.url}"
    with pytest.raises(NotFound) as missing:
        jobs.find_in([here, there], "xyzzy")
    assert missing.value.fix == "`llmcloud list` shows all jobs."
    with pytest.raises(NotFound) as missing:
        jobs.find_in([here], "xyzzy")
    assert missing.value.fix == "There are no jobs yet."


class Shut(FileStore):
    """A store that this user may not read."""

    def folders(self, prefix: str) -> list[str]:
        raise PermissionDenied("You may not.", where=f"{self.url}/{prefix}")


def test_a_store_that_can_not_be_read_is_told_and_hides_no_job_of_another(tmp_path: Path) -> None:
    warnings: list[str] = []
    there = store_with(tmp_path / "b", gpt_333333=OLD)
    shut = Shut(tmp_path / "a")
    assert jobs.find_in([shut, there], "gpt", warnings.append) == (there, "gpt-333333")
    assert "You may not." in warnings[0]
    with pytest.raises(PermissionDenied):
        jobs.find_in([shut, there], "xyzzy", warnings.append)


class Cloud:
    """A provider where a job that has ended leaves something that won't go."""

    tidies_up = False
    look_every_s = 1000.0

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure, self.asked = failure, 0

    def delete(self, _: Place) -> bool:
        if self.failure:
            raise self.failure
        return True

    def describe(self, place: Place) -> list[Machine]:
        self.asked += 1
        return [Machine(0, f"of {place.job}", MachineState.RUNNING)]


def opened(tmp_path: Path, cloud: Cloud, state: State) -> OpenJob:
    store = FileStore(tmp_path / "store")
    store.create()
    now = status.now()
    ended_at = now if state.is_final else None
    seen = Status("n-1", "n", "cloud", "vm", None, state, now, launch=1, ended_at=ended_at)
    snapshots.put_job(store, seen)
    journal.intend(store, "n-1", journal.MACHINES, "n-1-1", "cloud")
    made = OpenJob(Session(Home(tmp_path, tmp_path / "config.yaml")), store, "n-1")
    vars(made)["compute"] = cloud
    return made


def test_what_a_job_has_left_is_written_down_as_deleted(tmp_path: Path) -> None:
    job = opened(tmp_path, Cloud(), State.SUCCEEDED)
    job.tidy_up()
    assert journal.pending(job.store, "n-1") == []


@pytest.mark.parametrize("failure", [PermissionDenied("You may not."), KeyboardInterrupt()])
def test_what_will_not_go_changes_nothing_of_how_the_job_ended(
    tmp_path: Path, failure: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    job = opened(tmp_path, Cloud(failure), State.SUCCEEDED)
    job.tidy_up()
    assert "llmcloud gc" in capsys.readouterr().err
    assert journal.pending(job.store, "n-1")


def test_a_cloud_is_not_asked_for_machines_at_each_look(tmp_path: Path) -> None:
    """Whoever looks meanwhile sees what it said last."""
    cloud = Cloud()
    job = opened(tmp_path, cloud, State.RUNNING)
    seen = [job.observe() for _ in range(5)]
    assert [job.status().state for _ in range(5)] == [State.RUNNING] * 5
    assert cloud.asked <= 2
    assert {each.machines[0].id for each in seen} == {"of n-1"}


def test_who_waits_for_a_training_is_told_now_and_then() -> None:
    """A machine may take minutes to boot; nothing is said where it takes a moment."""
    told: list[str] = []
    seconds = iter([0.0, 9.0, 10.0, 39.0, 65.0])
    doing = iter(["starting", "1 setup, 1 fetching"])
    patience = Patience(lambda: next(doing), told.append, lambda: next(seconds))
    coming = Status(
        "x-1", "x", "aws", "vm", "us-east-1", State.PROVISIONING, OLD, zone="us-east-1a"
    )
    for _ in range(4):
        patience(coming)
    patience(replace(coming, state=State.RUNNING))
    assert told == [
        "waiting for the training to start in us-east-1a: starting (10s)",
        "waiting for the training to start in us-east-1a: 1 setup, 1 fetching (1m 5s)",
    ]
