"""What the tests of the templates ask of a bench, and do to it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rig.waits import eventually

from llmcloud.runtime import process

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

SAVED = re.compile(r"Checkpoint (\d+) is saved\.")
COMMAND = re.compile(r"^    llmcloud (.*)$", re.MULTILINE)
RESUMED = re.compile(r"resumed from step (\d+)\n")


def activate(bench: Bench) -> Bench:
    """Let jobs find the Python of the tests, as in an activated environment."""
    own = str(Path(sys.executable).parent)
    bench.environ["PATH"] = os.pathsep.join((own, bench.environ["PATH"]))
    return bench


def start_from(bench: Bench, template: str) -> str:
    """Write a template into a folder and return the job file's path."""
    done = bench.cli("init", template)
    assert done.code == 0, done.err
    return str(bench.root / template / "job.yaml")


def told(folder: Path) -> list[list[str]]:
    """Return the arguments of each command in a template's README."""
    return [shlex.split(each) for each in COMMAND.findall((folder / "README.md").read_text())]


def settings(**hyperparameters: int) -> list[str]:
    """Return the flags of a submit that installs nothing and ships checkpoints soon."""
    found = ["setup=", "checkpoints.interval=1s"]
    found += [f"hyperparameters.{name}={value}" for name, value in hyperparameters.items()]
    return [word for each in found for word in ("--set", each)]


def losses(bench: Bench, job: str, attempt: int = 1) -> dict[int, float]:
    """Return the loss at each step of an attempt, as the segments in the store have it."""
    return {step: each["loss"] for step, each in metrics(bench, job, attempt).items()}


def metrics(bench: Bench, job: str, attempt: int = 1) -> dict[int, dict[str, float]]:
    """Return what node 0 measured at each step that it told the loss of."""
    folder = bench.home / "store" / "jobs" / job / "metrics" / f"{attempt:04d}" / "00000"
    lines = [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]
    found = [json.loads(line) for line in lines]
    return {each["step"]: each for each in found if "loss" in each}


def after(step: int, unbroken: dict[int, float]) -> dict[int, float]:
    return {each: loss for each, loss in unbroken.items() if each > step}


def steps(bench: Bench, job: str) -> list[int]:
    """Return the steps that `checkpoints list` has, all of them whole."""
    found = bench.cli("checkpoints", "list", job, "--json").document
    assert all(each["valid"] for each in found)
    return [each["step"] for each in found]


def await_saved(bench: Bench, job: str, step: int) -> None:
    """Wait until the store has a checkpoint that is as new as that."""

    def is_there() -> bool:
        return any(int(found) >= step for found in SAVED.findall(bench.log(job)))

    eventually(is_there, f"checkpoint {step} or a later one saved")


def resumed_step(bench: Bench, job: str, attempt: int = 2) -> int:
    found = RESUMED.search(bench.log(job, attempt=attempt))
    assert found, bench.log(job)
    return int(found[1])


def hold(bench: Bench, job: str, seen: str) -> None:
    """Freeze the training as soon as node 0 has a file, which is much sooner than any log."""
    eventually(lambda: list(bench.work(job).glob(f"code/{seen}")), f"{seen} on node 0")
    signal_training(bench, job, signal.SIGSTOP)


def signal_training(bench: Bench, job: str, number: signal.Signals) -> None:
    """Send a signal to each process that trains, and to none that looks after it."""
    for pid in training(bench, job):
        process.send(pid, number)


def training(bench: Bench, job: str) -> list[int]:
    """Return the processes that train: no shell, no torchrun, no runtime."""
    found = bench.processes(job).items()
    return [pid for pid, argv in found if re.match(r"\S*python\S*( -u)? train\.py", argv)]


def await_sigterm(bench: Bench, job: str) -> None:
    """Wait until a training that is frozen has been sent SIGTERM: it is pending then."""

    def is_pending() -> bool:
        waiting = [
            (Path("/proc") / str(pid) / "status").read_text().partition("ShdPnd:")[2].split()[0]
            for pid in training(bench, job)
        ]
        return any(int(each, 16) >> (signal.SIGTERM - 1) & 1 for each in waiting)

    eventually(is_pending, "SIGTERM sent to the training")


def kill_node(bench: Bench, job: str, rank: int) -> None:
    """SIGKILL a node's runtime and all below it, as when a machine is gone."""
    runtime = bench.runtimes(job)[rank]
    for pid in [runtime, *(each.pid for each in process.below(runtime))]:
        process.send(pid, signal.SIGKILL)
