"""What the benchmarks share: run a command, take turns, medians, and a Markdown table."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MB = 1 << 20
PEERS = Path("build/peers")
LLMCLOUD = str(Path(sys.executable).with_name("llmcloud"))


@dataclass(frozen=True)
class Cost:
    """What one run cost: CPU is user + system of the process and what it waited for."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def options(
    text: str | None, *, runs: int, quick_runs: int, more: argparse.ArgumentParser | None = None
) -> argparse.Namespace:
    """Return the command line of a benchmark: `runs`, `quick`, `peers`, and what is in `more`."""
    parser = argparse.ArgumentParser(
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[more] if more else [],
    )
    parser.add_argument("--runs", type=int, help=f"runs of each ({runs})")
    parser.add_argument("--quick", action="store_true", help=f"small sizes, {quick_runs} runs")
    parser.add_argument(
        "--peers", type=Path, default=PEERS, help="folder of the tools compared with, made once"
    )
    found = parser.parse_args()
    found.runs = found.runs or (quick_runs if found.quick else runs)
    return found


def peer(folder: Path, name: str, requirement: str) -> str:
    """Return the path of another tool, installed into a venv of its own if it is not there."""
    program = folder.absolute() / name / "bin" / name
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        pip = program.with_name("pip")
        subprocess.run([pip, "install", "-q", requirement], check=True)
    return str(program)


def run(argv: Sequence[str], environ: Mapping[str, str] | None = None, exit_code: int = 0) -> Cost:
    """Run a command to its end, its output thrown away; CalledProcessError for another exit."""
    begun = time.perf_counter()
    with Path(os.devnull).open("r+b") as null:
        child = subprocess.Popen(
            argv, env=dict(environ or os.environ), stdin=null, stdout=null, stderr=null
        )
    _, ended, used = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(ended)
    if child.returncode != exit_code:
        raise subprocess.CalledProcessError(child.returncode, argv)
    # ru_maxrss begins with what this process had when it forked: keep benchmarks small
    return Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def in_turns(runs: int, subjects: Mapping[str, Callable[[], Cost]]) -> dict[str, Cost]:
    """Run all subjects once, then all again, so that noise meets them alike; return medians."""
    found: dict[str, list[Cost]] = {name: [] for name in subjects}
    for _ in range(runs):
        for name, subject in subjects.items():
            found[name].append(subject())
    return {name: median(costs) for name, costs in found.items()}


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(
        middle([cost.wall_s for cost in costs]),
        middle([cost.cpu_s for cost in costs]),
        round(middle([cost.peak_bytes for cost in costs])),
    )


def middle(numbers: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(numbers)


def apart(work: Callable[..., None], *arguments: object) -> None:
    """Run something in a process of its own: a child's peak memory is never below its parent's."""
    child = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(child.exitcode)


def timed(work: Callable[[], object]) -> Cost:
    """Run something in this process."""
    begun, cpu_begun = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - begun, time.process_time() - cpu_begun, 0)


def show(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table, numbers to the right, and the machine below it."""
    table = [headings, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    for number, row in enumerate(table):
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        print("| " + " | ".join(cells) + " |")
        if not number:
            rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            print("| " + " | ".join(rule) + " |")
    print(f"\n{machine()}\n", flush=True)


def machine() -> str:
    """Say what this was measured on, and how much else it was doing."""
    name = next(
        (
            line.partition(":")[2].strip()
            for line in _lines("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    busy = f"load {os.getloadavg()[0]:.1f}"
    python = f"Python {platform.python_version()}"
    return f"{name}, {os.cpu_count()} CPUs, {busy}; {platform.system()}, {python}"


def ms(seconds: float) -> str:
    """Format a time as milliseconds."""
    return f"{seconds * 1000:,.{1 if seconds < 0.01 else 0}f} ms"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
