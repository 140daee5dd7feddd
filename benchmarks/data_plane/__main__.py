"""Uploads, downloads and re-syncs against the best tools, one after the other, again and again.

    python -m benchmarks.data_plane [--runs N] [--quick] [--peers FOLDER]
                                    [--clouds s3,gs,az] [--cases SUBSTRING]

--clouds and --cases measure a part only: some clouds, and the cases whose title has SUBSTRING.

All talk to one server of ours in memory on loopback (server.c), without TLS: this measures what
the client costs. llmcloud runs as a user runs it, start-up included, and alone computes and checks
digests both ways. "of best" is its median divided by that of the fastest tool in the same rounds,
the scripts on bare obstore apart: they are the ceiling of the library that llmcloud is built on.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import measure
from benchmarks.data_plane import tools
from benchmarks.data_plane.fill import FIRST
from benchmarks.data_plane.server import serving
from benchmarks.data_plane.tools import BUCKET, Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.measure import Cost

KIB, MIB = 1 << 10, 1 << 20
TOOLS = {"s3": tools.s3, "gs": tools.gcs, "az": tools.azure}
CEILING = "obstore (script)"
MOST_FILES = 100_000  # to move in all by one tool: a run of them takes half a minute


@dataclass(frozen=True)
class Case:
    """One thing to transfer, `count` files of `size` bytes, in one way: up, down or sync."""

    title: str
    way: str
    count: int
    size: int
    clouds: tuple[str, ...] = ("s3",)
    all_tools: bool = True


def cases(*, quick: bool) -> list[Case]:
    """Return what is measured."""
    by = 32 if quick else 1
    everywhere = tuple(TOOLS)
    big, many = 1024 * MIB // by, 10_000 // by
    return [
        Case("1 GiB up", "up", 1, big, everywhere),
        Case("1 GiB down", "down", 1, big, everywhere),
        Case("10,000 x 10 KiB up", "up", many, 10 * KIB, everywhere),
        Case("10,000 x 10 KiB down", "down", many, 10 * KIB, everywhere),
        Case("10,000 x 10 KiB, unchanged", "sync", many, 10 * KIB, everywhere),
        Case("20 x 100 MiB up", "up", 20, 100 * MIB // by, all_tools=False),
        Case("20 x 100 MiB down", "down", 20, 100 * MIB // by, all_tools=False),
        Case("100,000 x 1 KiB up", "up", 100_000 // by, KIB, all_tools=False),
        Case("100,000 x 1 KiB down", "down", 100_000 // by, KIB, all_tools=False),
        Case("100,000 x 1 KiB, unchanged", "sync", 100_000 // by, KIB, all_tools=False),
    ]


def main() -> None:
    """Print a table a cloud."""
    options = measure.options(__doc__, runs=5, quick_runs=1, more=_part())
    found = [case for case in cases(quick=options.quick) if options.cases in case.title]
    for cloud in options.clouds:
        make = partial(TOOLS[cloud], peers=options.peers)
        rows = []
        for case in found:
            if cloud in case.clouds:
                rows += _measured(case, cloud, make, options.runs)
        headings = [cloud, "tool", "wall", "CPU", "peak memory", "llmcloud of it"]
        measure.show(headings, rows)


def _part() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--clouds", type=_clouds, default=list(TOOLS), help="s3,gs,az")
    parser.add_argument("--cases", default="", metavar="SUBSTRING", help="of their titles")
    return parser


def _clouds(text: str) -> list[str]:
    if unknown := set(text.split(",")) - set(TOOLS):
        raise argparse.ArgumentTypeError(f"no such cloud: {', '.join(unknown)}")
    return text.split(",")


def _measured(
    case: Case, cloud: str, make: Callable[[str], list[Tool]], runs: int
) -> list[list[str]]:
    reserved = 3 * case.count * case.size // MIB + 64
    with tempfile.TemporaryDirectory(dir=_fast()) as folder, serving(reserved) as url:
        bench = Bench(case, cloud, url, Path(folder))
        bench.prepare()
        able = [tool for tool in make(url) if getattr(tool, case.way)]
        quick = {tool.name: partial(bench.run, tool) for tool in able if tool.is_quick}
        slow = {tool.name: partial(bench.run, tool) for tool in able if not tool.is_quick}
        measure.in_turns(1, {"llmcloud": quick["llmcloud"]})
        runs = min(runs, MOST_FILES // case.count)
        if case.count == 1:
            costs = measure.in_turns(runs, quick | slow)
        else:  # minutes each, and many times slower: once will do
            costs = measure.in_turns(runs, quick)
            if case.all_tools:
                costs |= measure.in_turns(1, slow)
    return list(_rows(case.title, costs))


@dataclass
class Bench:
    """A server, files to move, and a place of its own for each tool."""

    case: Case
    cloud: str
    url: str
    folder: Path
    turns: int = 0

    def prepare(self) -> None:
        """Make the files and the bucket; what is fetched or compared is there for all tools."""
        files = self.folder / "files"
        self.local = files / FIRST if self.case.count == 1 else files
        self.environ = tools.environ(self.url, str(self.folder / "home"))
        self._store("files", str(files), str(self.case.count), str(self.case.size))
        arguments = [self.cloud, self.url, BUCKET]
        if self.case.way != "up":
            arguments += [str(files), "there/"]
        self._store("fill", *arguments)

    def run(self, tool: Tool) -> Cost:
        """Run a tool once, with nothing left of its last run."""
        self.turns += 1
        target = self.folder / f"down-{self.turns}"
        if self.case.way == "down":
            target.mkdir()
            assert tool.down
            argv = tool.down(target, "there")
        elif self.case.way == "sync":
            assert tool.sync
            argv = tool.sync(self.local, "there")
        else:
            argv = tool.up(self.local, f"up-{self.turns}")
        cost = measure.run(argv, {**self.environ, **tool.environ})
        if self.case.way == "down":
            _check(self.folder / "files", target)
            shutil.rmtree(target)
        elif self.case.way == "up":
            self._store("clear", self.cloud, self.url, BUCKET, f"up-{self.turns}/")
        return cost

    def _store(self, *arguments: str) -> None:
        argv = [sys.executable, "-m", "benchmarks.data_plane.fill", *arguments]
        subprocess.run(argv, env=self.environ, check=True)


def _check(files: Path, target: Path) -> None:
    """Compare sizes: that all came. Whether the bytes are right is for the tests."""
    wanted = sorted(path.stat().st_size for path in files.rglob("*.bin"))
    if wanted != sorted(path.stat().st_size for path in target.rglob("*.bin")):
        raise SystemExit(f"not all of {files} came to {target}")


def _rows(title: str, costs: dict[str, Cost]) -> Iterable[list[str]]:
    ours = costs["llmcloud"].wall_s
    best = min(costs[name].wall_s for name in costs if name not in {"llmcloud", CEILING})
    for name, cost in costs.items():
        ratio = f"{ours / cost.wall_s:.2f} x" if name != "llmcloud" else f"{ours / best:.2f} x best"
        wall, cpu = f"{cost.wall_s:.2f} s", f"{cost.cpu_s:.2f} s"
        yield [title, name, wall, cpu, f"{cost.peak_bytes >> 20} MB", ratio]
        title = ""


def _fast() -> str | None:
    """Return a folder in memory, where there is one: disks differ, and are not what is compared."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 8 << 30 else None


if __name__ == "__main__":
    main()
