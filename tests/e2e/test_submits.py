"""Submits that meet, and submits that are cut off."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.e2e.conftest import TAG, opened

from llmcloud.runtime import process
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

OPERATIONS = (
    *("get", "read", "put", "put_file", "put_stream", "head", "objects", "folders", "delete"),
    "create",
)
THIS = [sys.executable, __file__]


def test_two_submits_of_one_file_at_once_make_one_job(bench: Bench) -> None:
    path = bench.job("twice", "echo training; sleep 1000")
    children = [bench.start("submit", path, "--detach") for _ in range(4)]
    done = [bench.end(child) for child in children]
    assert sorted(each.code for each in done) == [0, 2, 2, 2], [each.err for each in done]
    (job,) = bench.store.folders("jobs/")
    assert all(job in each.err for each in done)
    bench.await_log(job, "training")
    again = bench.cli("submit", path)
    assert (again.code, job in again.err) == (2, True)
    assert bench.cli("cancel", job).code == 0
    assert bench.log(job).splitlines().count("training") == 1


def test_a_name_is_free_again_when_its_job_has_ended(bench: Bench) -> None:
    path = bench.job("again", "true")
    assert bench.cli("submit", path).code == 0
    assert bench.cli("submit", path).code == 0
    assert len(bench.store.folders("jobs/")) == 2


def test_a_submit_that_was_killed_anywhere_and_its_repetition_make_one_job(bench: Bench) -> None:
    """It is killed at each operation of its store; the next either carries on or finds the job."""
    path = bench.job("cut", "echo training; sleep 1000")
    for operation in itertools.count(1):
        with opened(bench.root / str(operation)) as each:
            each.root.mkdir()
            cut = _dying(each, path, operation)
            if cut.returncode == 0:
                process.kill_tagged(TAG, str(each.home / "nodes" / each.store.folders("jobs/")[0]))
                break
            assert cut.returncode == -signal.SIGKILL, cut.stderr
            done = each.cli("submit", path, "--detach")
            (job,) = each.store.folders("jobs/")
            assert done.code == 0 or (done.code == 2 and job in done.err), (operation, done.err)
            each.await_log(job, "training")
            argvs = [argv for argv in each.processes(job).values() if "keeper" in argv]
            assert len(argvs) == 1
            process.kill_tagged(TAG, str(each.home / "nodes" / job))
    assert operation > 8


def test_gc_ends_what_a_submit_that_was_killed_left(bench: Bench) -> None:
    """And then the name is free."""
    path = bench.job("left", "echo trained")
    for operation in itertools.count(1):
        if bench.store.is_there() and bench.store.folders("jobs/"):
            break
        assert _dying(bench, path, operation).returncode == -signal.SIGKILL
    assert "submit" in [each["kind"] for each in bench.cli("gc", "--yes", "--json").document]
    assert bench.cli("gc", "--dry-run", "--json").document == []
    done = bench.cli("submit", path)
    assert (done.code, "carrying on" in done.err) == (0, False)


def test_a_cut_off_submit_is_replaced_when_the_code_has_changed(bench: Bench) -> None:
    """The former job is over; it is not carried on with code that it was not submitted with."""
    path = bench.job("changed", "cat what", what="old")
    for operation in itertools.count(1):
        if bench.store.is_there() and bench.store.folders("jobs/"):
            break
        assert _dying(bench, path, operation).returncode == -signal.SIGKILL
    bench.job("changed", "cat what", what="new")
    done = bench.cli("submit", path)
    assert (done.code, done.out.strip()) == (0, "new"), done.err


def _dying(bench: Bench, path: str, operation: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*THIS, str(operation), path],
        env={**bench.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=bench.root,
        capture_output=True,
        text=True,
        check=False,
    )


class DyingStore(FileStore):
    """Kills its process before its n-th operation."""

    left = 0

    def __getattribute__(self, name: str) -> Any:
        if name in OPERATIONS:
            DyingStore.left -= 1
            if DyingStore.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)


def _submit(operation: int, path: str) -> None:
    """Submit a job as the command does, and die at an operation of the store."""
    from pathlib import Path

    from llmcloud.core import job as jobs
    from llmcloud.core import plan as plans
    from llmcloud.core import submit
    from llmcloud.core.home import Home
    from llmcloud.core.spec.load import load

    DyingStore.left = operation
    home = Home.from_env(os.environ)
    store = DyingStore(Path(home.store_url.removeprefix("file://")))
    loaded = load(path, environ=os.environ)
    plan, compute = plans.make(loaded, home, jobs.new_id(loaded.spec.name))
    store.create()
    submit.run(submit.Submission(loaded, plan, compute, store, os.environ, print))


if __name__ == "__main__":
    _submit(int(sys.argv[1]), sys.argv[2])
