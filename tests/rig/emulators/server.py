"""A server that others wrote, run for the tests: on a free port, and never longer than they."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ATTEMPTS = 3
DEADLINE_S = 60.0
POLL_S = 0.02
TETHER = Path(__file__).parent / "tether.py"
LISTEN = "0A"  # include/net/tcp_states.h


class NotStarted(Exception):
    """An emulator did not listen; its message holds what the emulator printed."""


@dataclass(frozen=True)
class Command:
    """What to run and the variables it needs beyond PATH; HOME and TMPDIR are its own folder."""

    argv: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def running(make: Callable[[int], Command], folder: Path) -> Iterator[int]:
    """Run the command that `make` returns for a port; yield the port once it is listened to.

    Enter it in a thread that outlives the block: the kernel ends the server with that thread.
    """
    log = folder / "log"
    deadline = time.monotonic() + DEADLINE_S
    for _ in range(ATTEMPTS):  # another process may take the port before the server does
        port = _free_port()
        process = _start(make(port), folder, log)
        try:
            if _await_listening(process, port, deadline):
                yield port
                return
        finally:
            _end(process)
    command = " ".join(make(0).argv)
    raise NotStarted(f"{command} did not listen. It printed:\n{log.read_text(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(command: Command, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-IS", str(TETHER), str(os.getpid()), *command.argv],
            env={**own, **command.environ},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _await_listening(process: subprocess.Popen[bytes], port: int, deadline: float) -> bool:
    """Wait until the process listens; False when it ended, was late, or another has the port."""
    while process.poll() is None and time.monotonic() < deadline:
        if (listener := _listener(port)) is not None:
            return listener in _sockets(process.pid)
        time.sleep(POLL_S)
    return False


def _listener(port: int) -> str | None:
    """Return the inode of the socket that listens on a port of 127.0.0.1, see proc(5)."""
    address = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines():
        words = line.split()
        if words[1] == address and words[3] == LISTEN:
            return words[9]
    return None


def _sockets(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(FileNotFoundError):  # files are closed while we look
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(str(each.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the server and its children; it keeps nothing that would have to be saved."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
