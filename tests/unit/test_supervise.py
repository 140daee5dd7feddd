"""One command: all it prints is read, and nothing of it outlives its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llmcloud.runtime.supervise import Command, Reason, Stop, run

GRACE_S = 20.0


class Printed:
    """What a command printed; stops it when a word comes."""

    def __init__(self, stop_at: bytes = b"") -> None:
        self.stop, self._stop_at = Stop(), stop_at
        self.streams = {"stdout": b"", "stderr": b""}

    def __call__(self, stream: str, data: bytes) -> None:
        self.streams[stream] += data
        if self._stop_at and self._stop_at in self.streams[stream]:
            self.stop.ask(Reason.CANCELLED)

    def run(self, script: str, grace_s: float = GRACE_S) -> int:
        command = Command(["bash", "-c", script], Path("/"), dict(os.environ))
        return run(command, self, self.stop, grace_s)


def test_all_that_is_printed_is_read_and_the_exit_code_is_the_commands() -> None:
    printed = Printed()
    assert printed.run("seq 100000; echo oops >&2; exit 3") == 3
    assert printed.streams["stdout"].count(b"\n") == 100_000
    assert printed.streams["stderr"] == b"oops\n"


def test_a_signal_counts_as_in_a_shell() -> None:
    assert Printed().run("kill -SEGV $$") == 128 + signal.SIGSEGV


def test_a_command_that_is_not_there_is_127() -> None:
    printed = Printed()
    command = Command(["no-such-command"], Path("/"), dict(os.environ))
    assert run(command, printed, printed.stop, 1) == 127
    assert b"no-such-command" in printed.streams["stderr"]


def test_what_a_command_leaves_behind_ends_with_it() -> None:
    assert as_a_node("setsid sleep 1000 & sleep 1000 & echo done") == "0, 0 left"


def test_a_stop_gives_the_whole_tree_time_to_save() -> None:
    """The shell dies of the SIGTERM at once; what it started does not."""
    saves = "trap 'sleep 1; echo saved; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    printed = Printed(stop_at=b"ready")
    printed.run(f'bash -c "{saves}"\necho never')
    assert printed.streams["stdout"] == b"ready\nsaved\n"


def test_what_ignores_sigterm_is_killed_after_the_grace_time() -> None:
    ignores = "trap '' TERM; setsid sleep 1000 & env -i setsid sleep 1000 & echo ready; sleep 1000"
    assert as_a_node(ignores, stop_at="ready", grace_s=0.3) == "137, 0 left"


def test_a_stop_that_was_asked_before_ends_the_command_at_once() -> None:
    printed = Printed()
    printed.stop.ask(Reason.EXPIRED)
    assert printed.run("sleep 1000") == 128 + signal.SIGTERM


def test_a_signal_handler_may_ask_while_its_own_thread_waits_or_asks() -> None:
    """With a lock that a thread can't take twice, this would hang now and then."""
    script = """
import os, signal, sys, threading, time
from llmcloud.runtime.supervise import Reason, Stop
stop = Stop()
count = 0
def handle(*_):
    global count
    count += 1
    stop.ask(Reason.PREEMPTED)
signal.signal(signal.SIGUSR1, handle)
def shoot():
    for _ in range(3000):
        os.kill(os.getpid(), signal.SIGUSR1)
thread = threading.Thread(target=shoot)
thread.start()
while thread.is_alive():
    stop.ask(Reason.PREEMPTED)
    stop.reason = None
    stop.wait(0.0001)
print(count > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"True\n"


def as_a_node(script: str, stop_at: str = "", grace_s: float = GRACE_S) -> str:
    """Run a command in a process that orphans come to, as they do on a node."""
    lines = [
        "import os",
        "from llmcloud.runtime import process",
        "from tests.unit.test_supervise import Printed",
        "process.become_subreaper()",
        f"code = Printed({stop_at.encode()!r}).run({script!r}, {grace_s})",
        "print(f'{code}, {len(process.below(os.getpid()))} left')",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("asks", [1, 8])
def test_a_stop_is_seen_by_every_thread(asks: int) -> None:
    stop, seen = Stop(), []

    def wait() -> None:
        while not stop.wait(0.01):
            pass
        seen.append(stop.reason)

    threads = [threading.Thread(target=wait) for _ in range(asks)]
    for thread in threads:
        thread.start()
    time.sleep(0)
    stop.ask(Reason.EXPIRED)
    for thread in threads:
        thread.join()
    assert seen == [Reason.EXPIRED] * asks
