"""Run one command of a job: read all it prints, and end its whole tree when it is time."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from enum import Enum
from typing import IO, TYPE_CHECKING

from llmcloud.runtime import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

POLL_S = 0.05
DRAIN_S = 5.0
READ_BYTES = 64 << 10
SIGNAL_BASE = 128  # as shells count: 128 + signal


class Reason(str, Enum):
    """Why what runs must stop."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PREEMPTED = "preempted"
    STOPPED = "stopped"
    STORE_GONE = "store gone"
    ABANDONED = "abandoned"


class Stop:
    """A request to stop, made once and seen by every thread; the first reason stands.

    A signal handler may ask, so there is no Event here: its lock may be held by the very thread
    that the signal interrupts.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.reason: Reason | None = None

    def ask(self, reason: Reason) -> None:
        """Ask for an end; later reasons change nothing."""
        with self._lock:
            self.reason = self.reason or reason

    def wait(self, timeout_s: float) -> bool:
        """Wait, for a short time, for the request; tell whether it was made."""
        if not self.reason:
            time.sleep(timeout_s)
        return self.reason is not None


@dataclass(frozen=True)
class Command:
    """What to run and where."""

    argv: Sequence[str]
    cwd: Path
    environ: Mapping[str, str]


def run(command: Command, sink: Callable[[str, bytes], None], stop: Stop, grace_s: float) -> int:
    """Run a command in a session of its own and return its exit code (128 + N for signal N).

    `sink` gets (stream, bytes) from reader threads. On a stop the whole tree gets SIGTERM,
    `grace_s` to save what it has, then SIGKILL. Nothing that it started outlives this call.
    """
    try:
        child = subprocess.Popen(
            list(command.argv),
            cwd=command.cwd,
            env=dict(command.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        sink("stderr", f"{command.argv[0]}: {error.strerror}\n".encode())
        return 127
    readers = [_reader(child.stdout, "stdout", sink), _reader(child.stderr, "stderr", sink)]
    while child.poll() is None and not stop.wait(POLL_S):
        pass
    if child.poll() is None:
        _end(child, grace_s)
    process.kill_below(os.getpid())
    child.wait()
    for reader in readers:
        reader.join(DRAIN_S)
    return child.returncode if child.returncode >= 0 else SIGNAL_BASE - child.returncode


def _end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Give the whole tree time: a shell is gone at once while what it started still saves."""
    for each in process.below(os.getpid()) or [process.identify(child.pid)]:
        process.send(each.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and (child.poll() is None or process.below(os.getpid())):
        time.sleep(POLL_S)
    child.kill()


def _reader(
    pipe: IO[bytes] | None, stream: str, sink: Callable[[str, bytes], None]
) -> threading.Thread:
    def read() -> None:
        assert pipe is not None  # noqa: S101  it was asked for
        with pipe:
            while data := os.read(pipe.fileno(), READ_BYTES):
                sink(stream, data)

    thread = threading.Thread(target=read, name=f"read-{stream}", daemon=True)
    thread.start()
    return thread
