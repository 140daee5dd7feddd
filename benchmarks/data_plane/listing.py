"""How a listing grows with the number of objects: time and memory, beside the other tools.

python -m benchmarks.data_plane.listing [--runs N] [--quick] [--peers FOLDER]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import measure
from benchmarks.data_plane import tools
from benchmarks.data_plane.server import serving
from benchmarks.data_plane.tools import BUCKET

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Cost

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
SLOW = 100_000  # from here on a tool takes half a minute


def main() -> None:
    """Print a table."""
    options = measure.options(__doc__, runs=3, quick_runs=1)
    counts = COUNTS[:2] if options.quick else COUNTS
    rows = []
    with tempfile.TemporaryDirectory() as home, serving(512) as url:
        environ = tools.environ(url, home)
        for count in counts:
            _fill(count, url, environ)
            runs = options.runs if count < SLOW else 1
            costs = measure.in_turns(runs, _subjects(count, url, options.peers, environ))
            rows += list(_rows(count, costs))
    measure.show(["objects", "tool", "wall", "CPU", "peak memory", "wall an object"], rows)


def _fill(count: int, url: str, environ: dict[str, str]) -> None:
    argv = [sys.executable, "-m", "benchmarks.data_plane.fill", "objects", "s3", url, BUCKET]
    subprocess.run([*argv, str(count), f"{count}/"], env=environ, check=True)


def _subjects(
    count: int, url: str, peers: Path, environ: dict[str, str]
) -> dict[str, partial[Cost]]:
    s5cmd, rclone = (measure.peer(peers, *tools.PINNED[name]) for name in ("s5cmd", "rclone"))
    place = f"s3://{BUCKET}/{count}"
    remote = f":s3,provider=Other,env_auth=true,endpoint='{url}':{BUCKET}/{count}"
    commands = {
        "llmcloud data list": [measure.LLMCLOUD, "data", "list", place],
        "llmcloud data list --json": [measure.LLMCLOUD, "data", "list", place, "--json"],
        "s5cmd ls": [s5cmd, "ls", f"{place}/*"],
        "rclone lsl": [rclone, "lsl", "--fast-list", "--use-server-modtime", remote],
    }
    environ = {**environ, "S3_ENDPOINT_URL": url}
    return {name: partial(measure.run, argv, environ) for name, argv in commands.items()}


def _rows(count: int, costs: dict[str, Cost]) -> list[list[str]]:
    return [
        [
            f"{count:,}" if not number else "",
            name,
            f"{cost.wall_s:.2f} s",
            f"{cost.cpu_s:.2f} s",
            f"{cost.peak_bytes >> 20} MB",
            f"{cost.wall_s / count * 1e6:.1f} µs",
        ]
        for number, (name, cost) in enumerate(costs.items())
    ]


if __name__ == "__main__":
    main()
