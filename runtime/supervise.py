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
    """A request to stop, made once and seen by every thread; the first reason stands."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self.reason: Reason | None = None

    def ask(self, reason: Reason) -> None:
        """Ask for an end; later reasons change nothing."""
        with self._lock:
            self.reason = self.reason or reason
        self._asked.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the request; tell whether it was made."""
        return self._asked.wait(timeout_s)


@dataclass(frozen=True)
class Command:
    """What to run and where."""

    argv: Sequence[str]
    cwd: Path
    environ: Mapping[str, str]


def run(command: Command, sink: Callable[[str, bytes], None], stop: Stop, grace_s: float) -> int:
    """Run a command in a session of its own and return its exit code (128 + N for signal N).

    `sink` gets (stream, bytes) from reader threads. On a stop the session gets SIGTERM, `grace_s`
    to save what it has, then SIGKILL. Nothing that the command started outlives this call.
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
    process.signal_session(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    process.signal_session(child.pid, signal.SIGKILL)


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
