"""How `llmcloud list` grows with the jobs in the store.

python -m benchmarks.list_jobs [--runs N] [--quick]
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import MB, ms

SIZES = (0, 100, 1_000, 10_000)
RUNNING = 3  # of the jobs: their heartbeats, metrics and machines are looked at as well


def main() -> None:
    """Measure and print the table."""
    options = measure.options(__doc__, runs=9, quick_runs=3)
    sizes = SIZES[:-1] if options.quick else SIZES
    subjects = {}
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            home = Path(scratch, str(size))
            measure.apart(fill, home, size)
            environ = {**os.environ, "LLMCLOUD_HOME": str(home)}
            for arguments in (["list"], ["list", "--json"]):
                argv = [measure.LLMCLOUD, *arguments]
                name = f"{size:,} jobs, {' '.join(arguments)}"
                subjects[name] = partial(measure.run, argv, environ)
        found = measure.in_turns(options.runs, subjects)
    rows = [
        [name, ms(cost.wall_s), ms(cost.cpu_s), f"{cost.peak_bytes / MB:.0f} MB"]
        for name, cost in found.items()
    ]
    measure.show(("", "wall", "CPU", "peak memory"), rows)


def fill(home: Path, size: int) -> None:
    """Fill a store with jobs that have ended, and a few that run."""
    from benchmarks import generate

    generate.jobs(home, 0, max(size - RUNNING, 0))
    for number in range(min(size, RUNNING)):
        generate.running(home, f"tiny-gpt-live{number:02d}", 1)


if __name__ == "__main__":
    main()
