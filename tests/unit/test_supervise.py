"""One command: all it prints is read, and nothing of it outlives its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmcloud.runtime.supervise import Command, Reason, Stop, run

GRACE_S = 20.0


NODE = """
import json, os, sys
from pathlib import Path
from llmcloud.runtime import process
from llmcloud.runtime.supervise import Command, Reason, Stop, run

script, stop_at, grace_s = json.loads(sys.argv[1])
stop, printed = Stop(), {"stdout": "", "stderr": ""}
if stop_at == "":
    stop.ask(Reason.EXPIRED)

def take(stream, data):
    printed[stream] += data.decode()
    if stop_at and stop_at in printed[stream]:
        stop.ask(Reason.CANCELLED)

process.become_subreaper()
code = run(Command(["bash", "-c", script], Path("/"), dict(os.environ)), take, stop, grace_s)
print(json.dumps({"code": code, "left": len(process.below(os.getpid())), **printed}))
"""


@dataclass
class Ended:
    """How a command ended, what it printed, and how many processes it left behind."""

    code: int
    stdout: str
    stderr: str
    left: int


def as_a_node(script: str, stop_at: str | None = None, grace_s: float = GRACE_S) -> Ended:
    """Run a command in a process that orphans come to, as they do on a node.

    It ends all that is below it, as this one must not. A word that is printed stops the command;
    an empty one has stopped it before it began.
    """
    asked = json.dumps([script, stop_at, grace_s])
    done = subprocess.run([sys.executable, "-c", NODE, asked], stdout=subprocess.PIPE, check=True)
    return Ended(**json.loads(done.stdout))


def test_all_that_is_printed_is_read_and_the_exit_code_is_the_commands() -> None:
    ended = as_a_node("seq 100000; echo oops >&2; exit 3")
    assert ended.code == 3
    assert ended.stdout.count("\n") == 100_000
    assert ended.stderr == "oops\n"


def test_a_signal_counts_as_in_a_shell() -> None:
    assert as_a_node("kill -SEGV $$").code == 128 + signal.SIGSEGV


def test_a_command_that_is_not_there_is_127() -> None:
    printed = []
    command = Command(["no-such-command"], Path("/"), dict(os.environ))
    assert run(command, lambda *said: printed.append(said), Stop(), 1) == 127
    ((stream, said),) = printed
    assert (stream, b"no-such-command" in said) == ("stderr", True)


def test_what_a_command_leaves_behind_ends_with_it() -> None:
    ended = as_a_node("setsid sleep 1000 & sleep 1000 & echo done")
    assert (ended.code, ended.left) == (0, 0)


def test_a_stop_gives_the_whole_tree_time_to_save() -> None:
    """The shell dies of the SIGTERM at once; what it started does not."""
    saves = "trap 'sleep 1; echo saved; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    ended = as_a_node(f'bash -c "{saves}"\necho never', stop_at="ready")
    assert ended.stdout == "ready\nsaved\n"


def test_what_ignores_sigterm_is_killed_after_the_grace_time() -> None:
    ignores = "trap '' TERM; setsid sleep 1000 & env -i setsid sleep 1000 & echo ready; sleep 1000"
    ended = as_a_node(ignores, stop_at="ready", grace_s=0.3)
    assert (ended.code, ended.left) == (137, 0)


def test_a_stop_that_was_asked_before_ends_the_command_at_once() -> None:
    assert as_a_node("sleep 1000", stop_at="").code == 128 + signal.SIGTERM


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
