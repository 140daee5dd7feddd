"""How fast a log is printed, what it takes, and how soon a follower sees a line.

python -m benchmarks.logs [--runs N] [--quick]
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import MB, ms

SIZES = (10_000, 100_000, 1_000_000)
TAIL = 100
# A training that prints now and then, and one that prints all the time; lines hold their time.
FOLLOWED = {"a line every 0.7 s": (0.7, 60), "50 lines a second": (0.02, 1500)}
SCRIPT = """
import sys, time
for _ in range(int(sys.argv[2])):
    print("at", time.time_ns(), flush=True)
    time.sleep(float(sys.argv[1]))
"""


def main() -> None:
    """Measure and print both tables."""
    options = measure.options(__doc__, runs=5, quick_runs=2)
    with tempfile.TemporaryDirectory() as scratch:
        printing(Path(scratch, "printing"), options.runs, SIZES[:-1] if options.quick else SIZES)
        following(Path(scratch, "following"), 4 if options.quick else 1)


def printing(home: Path, runs: int, sizes: tuple[int, ...]) -> None:
    """Print logs of several sizes to nowhere."""
    environ = {**os.environ, "LLMCLOUD_HOME": str(home)}
    subjects, lines = {}, {}
    for size in sizes:
        measure.apart(fill, home, size)
        for arguments in ([], ["--json"], ["--tail", str(TAIL)]):
            argv = [measure.LLMCLOUD, "logs", job_id(size), *arguments]
            name = f"{' '.join(['logs', *arguments])}, of {size:,} lines"
            subjects[name] = partial(measure.run, argv, environ)
            lines[name] = size
    found = measure.in_turns(runs, subjects)
    rows = [
        [
            name,
            ms(cost.wall_s),
            ms(cost.cpu_s),
            "" if "--tail" in name else f"{lines[name] / cost.wall_s:,.0f}",
            f"{cost.peak_bytes / MB:.0f} MB",
        ]
        for name, cost in found.items()
    ]
    measure.show(("", "wall", "CPU", "lines/s", "peak memory"), rows)


def following(home: Path, less: int) -> None:
    """Follow jobs that print the time."""
    rows = []
    for name, (pause_s, count) in FOLLOWED.items():
        late_s, cpu_s = follow(home, pause_s, count // less)
        p95_s = late_s[len(late_s) * 95 // 100]
        row = [f"{name}, {len(late_s)} lines", ms(measure.middle(late_s)), ms(p95_s)]
        rows.append([*row, ms(late_s[-1]), f"{cpu_s:.1%}"])
    measure.show(("printed → shown by logs -f", "median", "p95", "longest", "CPU share"), rows)


def follow(home: Path, pause_s: float, count: int) -> tuple[list[float], float]:
    """Return how late each line was, sorted, and the share of a CPU that the follower took."""
    folder = home / "code"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "print.py").write_text(SCRIPT)
    (folder / "job.yaml").write_text(
        f"name: printing\nprovider: local\nrun: python print.py {pause_s} {count}\n"
    )
    environ = {**os.environ, "LLMCLOUD_HOME": str(home)}
    submit = [measure.LLMCLOUD, "submit", "--detach", "--json", str(folder / "job.yaml")]
    submitted = subprocess.run(submit, env=environ, check=True, stdout=subprocess.PIPE).stdout
    begun = time.perf_counter()
    argv = [measure.LLMCLOUD, "logs", "-f", json.loads(submitted)["job"]]
    child = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE)
    assert child.stdout
    late_s = [
        (time.time_ns() - int(line.split()[1])) / 1e9
        for line in child.stdout
        if line.startswith(b"at ")
    ]
    _, ended, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(ended)
    if child.returncode or len(late_s) != count:
        raise SystemExit(f"exit {child.returncode}, {len(late_s)} of {count} lines were shown")
    return sorted(late_s), (used.ru_utime + used.ru_stime) / (time.perf_counter() - begun)


def fill(home: Path, size: int) -> None:
    """Write a job with so many lines."""
    from benchmarks import generate

    generate.log(home, job_id(size), size)


def job_id(size: int) -> str:
    """Return the id of the job with so many lines."""
    return f"tiny-gpt-{size}"


if __name__ == "__main__":
    main()
