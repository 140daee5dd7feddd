"""Processes as the kernel knows them: identity that survives pid reuse, trees, and their end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

PROC = Path("/proc")
TAG = "LLMCLOUD_TAG"  # in the environment of every process of a job: whose it is
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
KILL_TIMEOUT_S = 5.0
KILL_POLL_S = 0.01
CALM_LOOKS = 2


@dataclass(frozen=True)
class Identity:
    """A process for good: a pid is used again, a pid with its start time is not.

    `started` is in clock ticks since boot (proc(5), field 22 of stat), 0 where there is no /proc.
    """

    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        if not PROC.is_dir():
            return _answers(self.pid)
        stat = _stat(self.pid)
        return stat is not None and stat.started == self.started and stat.state not in "ZX"


@dataclass(frozen=True)
class _Stat:
    pid: int
    state: str
    parent: int
    session: int
    started: int


def identify(pid: int) -> Identity:
    """Return the identity of a process that runs now."""
    stat = _stat(pid)
    return Identity(pid, stat.started if stat else 0)


def become_subreaper() -> None:
    """Have orphans below this process come to it instead of to init, so that it can end them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def below(pid: int, spare: Collection[int] = ()) -> list[Identity]:
    """Return the living processes below one, without the trees of the children to spare."""
    children: dict[int, list[_Stat]] = {}
    for stat in _all_stats():
        children.setdefault(stat.parent, []).append(stat)
    found, pending = [], [pid]
    while pending:
        under = [stat for stat in children.pop(pending.pop(), []) if stat.pid not in spare]
        found += [Identity(stat.pid, stat.started) for stat in under if stat.state not in "ZX"]
        pending += [stat.pid for stat in under]
    return found


def tagged(variable: str, value: str) -> list[Identity]:
    """Return this user's processes that were started with `variable=value` in their environment."""
    wanted = f"{variable}={value}".encode()
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if wanted in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(identify(pid))
    return [each for each in found if each.is_alive]


def tag_values(variable: str) -> set[str]:
    """Return every value that `variable` has in the environment of this user's processes."""
    start = f"{variable}=".encode()
    values = set()
    for pid in _pids():
        with contextlib.suppress(OSError):
            for entry in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                if entry.startswith(start):
                    values.add(entry[len(start) :].decode(errors="replace"))
    return values


def kill_below(pid: int, spare: Collection[int] = ()) -> None:
    """SIGKILL what `below` finds and wait until it is gone."""
    _kill_until_gone(lambda: below(pid, spare))


def kill_tagged(variable: str, value: str) -> None:
    """SIGKILL what `tagged` finds and all below it, and wait until it is gone."""

    def find() -> list[Identity]:
        found = tagged(variable, value)
        return found + [child for each in found for child in below(each.pid)]

    _kill_until_gone(find)


def _kill_until_gone(find: Callable[[], list[Identity]]) -> None:
    """Kill in rounds, because what is killed may just have forked.

    Nothing must be found twice: a look at /proc misses who changes its parent during it.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_S
    calm = 0
    while calm < CALM_LOOKS and time.monotonic() < deadline:
        _reap()
        left = find()
        calm = 0 if left else calm + 1
        for each in left:
            send(each.pid, signal.SIGKILL)
        time.sleep(KILL_POLL_S)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone has had it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _reap() -> None:
    """Collect orphans that came to us and have ended.

    Only those with no subprocess.Popen waiting: waitpid by pid of zombies that are not tracked
    would steal an exit code, so a child that Popen started is left to it.
    """
    me = os.getpid()
    for stat in _all_stats():
        if stat.parent == me and stat.state == "Z" and stat.session != stat.pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(stat.pid, os.WNOHANG)


def _pids() -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(name) for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208
    return []


def _all_stats() -> list[_Stat]:
    return [stat for pid in _pids() if (stat := _stat(pid))]


def _stat(pid: int) -> _Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return _Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
