"""A command in a root of its own: what it gets, what it says, how it ends, what stays."""

from __future__ import annotations

import itertools
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rig.aws import overlay
from tests.rig.aws.namespace import PATH
from tests.rig.aws.overlay import Container, File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.rig.aws.namespace import Namespace
    from tests.rig.aws.overlay import Running

    Run = Callable[..., Running]

NUMBERS = itertools.count()


@pytest.fixture
def run(space: Namespace) -> Iterator[Run]:
    """Give what runs a shell's command in a root of its own, until the test's end."""
    started: list[Running] = []

    def start(script: str, **options: object) -> Running:
        wanted = {"environ": {"PATH": PATH}, **options}
        name = f"c-{next(NUMBERS)}"
        argv = ["/bin/sh", "-c", script]
        started.append(overlay.start(Container(name, argv, **wanted), space))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait(30)


def test_its_output_and_exit_code_are_told(run: Run) -> None:
    running = run("echo out; echo err >&2; exit 7")
    assert running.output.read() == b"out\nerr\n"
    assert running.wait(30) == 7


def test_it_has_only_the_environment_that_it_was_given(run: Run) -> None:
    running = run("env", environ={"PATH": PATH, "LETTER": "a"}, folder="/usr")
    assert set(running.output.read().decode().split()) == {f"PATH={PATH}", "LETTER=a", "PWD=/usr"}


def test_it_is_a_host_of_its_own_with_its_own_processes(run: Run) -> None:
    running = run("uname -n; ls -d /proc/[0-9]* | wc -l", hostname="algo-1")
    host, processes = running.output.read().split()
    assert host == b"algo-1"
    assert int(processes) <= 5


def test_without_an_address_it_has_no_network(run: Run) -> None:
    assert run("ls /sys/class/net").output.read().split() == [b"lo"]


def test_what_it_writes_is_seen_outside_and_leaves_this_machine_alone(run: Run) -> None:
    running = run("echo new >/var/log/rig-test; rm /etc/passwd; echo >/etc/hostname")
    assert running.wait(30) == 0
    assert running.written("/var/log/rig-test").read_text() == "new\n"
    assert not Path("/var/log/rig-test").exists()
    assert Path("/etc/passwd").exists()


def test_files_are_there_before_it_starts(run: Run) -> None:
    script = File(b"#!/bin/sh\necho hello\n", 0o755)
    assert run("/opt/a/b", files={"/opt/a/b": script}).output.read() == b"hello\n"


def test_a_bound_folder_is_shared(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("given")
    running = run("cp /opt/ml/in /opt/ml/out", binds={tmp_path: "/opt/ml"})
    assert running.wait(30) == 0
    assert (tmp_path / "out").read_text() == "given"


def test_a_signal_reaches_the_command(run: Run) -> None:
    running = run("trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
    assert running.output.readline() == b"ready\n"
    running.signal(signal.SIGTERM)
    assert running.output.read() == b"asked\n"
    assert running.wait(30) == 3


def test_a_command_that_died_of_a_signal_says_which(run: Run) -> None:
    assert run("kill -SEGV $$").wait(30) == 128 + signal.SIGSEGV


def test_kill_ends_what_it_started_too(run: Run) -> None:
    """The pipe's end is only seen when no process holds it any more."""
    running = run("trap '' TERM HUP; setsid sleep 1000 & echo ready; sleep 1000")
    assert running.output.readline() == b"ready\n"
    running.kill()
    assert running.output.read() == b""
    assert running.wait(30) == 128 + signal.SIGKILL
    running.kill()
    running.signal(signal.SIGTERM)


def test_a_command_that_is_not_there_fails_with_the_reason(space: Namespace) -> None:
    running = overlay.start(Container("c-absent", ["/no/such"], {}), space)
    assert b"No such file or directory: '/no/such'" in running.output.read()
    assert running.wait(30) != 0


def test_it_can_run_this_python(run: Run) -> None:
    running = run(f"{sys.executable} -c 'import ssl; print(ssl.HAS_TLSv1_3)'")
    assert running.output.read() == b"True\n"
