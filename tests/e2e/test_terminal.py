"""The terminal goes, the job stays."""

from __future__ import annotations

import os
import pty
import signal
from typing import TYPE_CHECKING

from tests.rig.waits import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Bench


def _job(bench: Bench) -> str:
    (job,) = eventually(lambda: bench.store.is_there() and bench.store.folders("jobs/"), "a job")
    bench.await_log(job, "training")
    return str(job)


def test_ctrl_c_detaches_and_says_how_to_come_back(bench: Bench) -> None:
    child = bench.start("submit", bench.job("ctrl-c", "echo training; sleep 1000"))
    job = _job(bench)
    assert child.stdout.readline() == b"training\n"
    child.send_signal(signal.SIGINT)
    done = bench.end(child)
    assert done.code == 130
    assert f"llmcloud logs -f {job}" in done.err
    assert f"llmcloud cancel {job}" in done.err
    follower = bench.start("logs", "-f", job)
    assert follower.stdout.readline() == b"training\n"
    follower.send_signal(signal.SIGINT)
    done = bench.end(follower)
    assert done.code == 130
    assert job in done.err
    assert bench.state(job)["state"] == "running"
    assert bench.cli("cancel", job).code == 0


def test_a_terminal_that_closes_and_sigterm_leave_the_job_alone(bench: Bench) -> None:
    """The kernel sends SIGHUP to the whole session of a terminal that goes."""
    path = bench.job("hangup", "echo training; sleep 1000")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(bench.root)
        os.execve(_python(), [_python(), *_argv(), "submit", path], bench.environ)
    job = _job(bench)
    os.close(terminal)
    os.waitpid(pid, 0)
    follower = bench.start("logs", "-f", job)
    assert follower.stdout.readline() == b"training\n"
    follower.send_signal(signal.SIGTERM)
    assert bench.end(follower).code != 0
    assert bench.processes(job)
    assert bench.state(job)["state"] == "running"
    assert bench.cli("cancel", job).code == 0


def test_a_folder_that_was_deleted_under_a_command_is_no_bug(bench: Bench, tmp_path: Path) -> None:
    """Nor is a working folder that is gone."""
    gone = tmp_path / "gone"
    gone.mkdir()
    path = bench.job("cwd", "echo hello")
    script = 'cd "$1"; rmdir "$1"; shift; exec "$@"'
    import subprocess

    from tests.e2e.conftest import LLMCLOUD

    done = subprocess.run(
        ["bash", "-c", script, "-", str(gone), *LLMCLOUD, "submit", path],
        env=bench.environ,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"hello\n"


def _python() -> str:
    from tests.e2e.conftest import LLMCLOUD

    return LLMCLOUD[0]


def _argv() -> list[str]:
    from tests.e2e.conftest import LLMCLOUD

    return LLMCLOUD[1:]
