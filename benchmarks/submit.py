"""From Enter to the job's first log line on the terminal: `submit` against `torchx run`.

    python -m benchmarks.submit [--runs N] [--quick] [--peers FOLDER]

Both run a job that echoes one word, on a terminal of their own (a pty), from a folder that they
never saw. CPU is of all that was started: the command, the processes that keep the job, the job.
"""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import measure
from benchmarks.measure import Cost, ms

from llmcloud.runtime import process

if TYPE_CHECKING:
    from collections.abc import Sequence

WORD = "hello-from-the-job"
SCRIPTS = {"echo": f"echo {WORD}", "echo, then 1 s of work": f"echo {WORD}; sleep 1"}
PEER = "torchx==0.7.0"


@dataclass(frozen=True)
class Run:
    """One submit: when its line was seen (None: never), when the command was over, its CPU."""

    line_s: float | None
    whole: Cost


def main() -> None:
    """Measure and print the table."""
    options = measure.options(__doc__, runs=15, quick_runs=3)
    process.become_subreaper()  # so that what a command leaves behind is waited for, and counted
    torchx = measure.peer(options.peers, "torchx", PEER)
    found: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.runs + 1):
            for job, script in SCRIPTS.items():
                folder = Path(scratch, f"{number}-{job[-1]}")
                runs = {
                    f"llmcloud submit: {job}": submit(script, folder / "llmcloud", Path(scratch)),
                    f"torchx run: {job}": run_torchx(torchx, script, folder / "torchx"),
                }
                for name, run in runs.items():
                    found.setdefault(name, []).append(run)
    headings = ("", "first line", "line shown", "command over", "CPU of all")
    # without the first runs: they compile what all others find compiled
    measure.show(headings, [row(name, runs[1:]) for name, runs in found.items()])


def submit(script: str, folder: Path, home: Path) -> Run:
    """Submit a folder that was never seen."""
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(f"name: echo\nprovider: local\nrun: {script}\n")
    return until_line([measure.LLMCLOUD, "submit", "job.yaml"], folder, home / "home")


def run_torchx(torchx: str, script: str, folder: Path) -> Run:
    """Run the same with torchx's own component, its lines shown while it runs."""
    folder.mkdir(parents=True)
    component = ["utils.sh", "sh", "-c", script]
    if script == SCRIPTS["echo"]:
        component = ["utils.echo", "--msg", WORD]
    return until_line([torchx, "run", "-s", "local_cwd", "--log", *component], folder, folder)


def until_line(argv: Sequence[str], folder: Path, home: Path) -> Run:
    """Run a command on a pty, note when the job's word comes, and wait for all it started."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "LLMCLOUD_HOME": str(home)}
    begun = time.perf_counter()
    child = subprocess.Popen(
        argv, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    line_s = None
    seen = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the terminal any more
        while data := os.read(ours, 1 << 16):
            seen += data
            if line_s is None and WORD.encode() in seen:
                line_s = time.perf_counter() - begun
    os.close(ours)
    cpu_s = reap(child.pid)
    over_s = time.perf_counter() - begun
    cpu_s += reap_all()
    return Run(line_s, Cost(over_s, cpu_s, 0))


def reap(pid: int) -> float:
    """Wait for one process and return its CPU seconds, with those of what it waited for."""
    used = os.wait4(pid, 0)[2]
    return used.ru_utime + used.ru_stime


def reap_all() -> float:
    """Wait for all that came to us when their parents ended."""
    cpu_s = 0.0
    with contextlib.suppress(ChildProcessError):
        while True:
            cpu_s += reap(-1)
    return cpu_s


def row(name: str, runs: Sequence[Run]) -> list[str]:
    """Return a subject's row of medians."""
    shown = [run.line_s for run in runs if run.line_s is not None]
    cost = measure.median([run.whole for run in runs])
    line = ms(measure.middle(shown)) if shown else "never"
    return [name, line, f"{len(shown)} of {len(runs)}", ms(cost.wall_s), ms(cost.cpu_s)]


if __name__ == "__main__":
    main()
