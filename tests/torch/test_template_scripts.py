"""The scripts of the templates gpt2 and ddp, run as a node runs them but by plain variables."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmcloud.runtime.process import below

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.torch, pytest.mark.timeout(400)]

TEMPLATES = Path(__file__).parents[2] / "templates"
SMALL = ["--width=16", "--layers=1", "--heads=2", "--context=16", "--batch_size=2"]
SMALL += ["--warmup_steps=5", "--log_every=1", "--save_every=5"]
LONG = ["--max_steps=250"]  # more lines than the pipe and the reader's buffer take up
GPT2_LINE = re.compile(r"'loss': '(\d\.\d+)'.*'step': (\d+)")
TIMEOUT_S = 120


class Launcher:
    """Starts processes, and leaves none behind."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, folder: Path, *command: str) -> subprocess.Popen[str]:
        env = {
            **os.environ,
            "LLMCLOUD_CHECKPOINT_DIR": str(folder / "checkpoints"),
            "LLMCLOUD_OUTPUT_DIR": str(folder / "outputs"),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
        }
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "stderr.txt").open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, *command],
                env=env,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                pipesize=4096,  # whoever reads no further soon holds the script up
            )
        self._started.append(process)
        return process

    def kill_all(self) -> None:
        for process in self._started:
            kill_tree(process)
            with process:  # closes the pipe and waits
                pass


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    found = Launcher()
    yield found
    found.kill_all()


def kill_tree(process: subprocess.Popen[str]) -> None:
    """SIGKILL a process and all below it: torchrun's workers have sessions of their own."""
    for pid in [process.pid, *(each.pid for each in below(process.pid))]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"ended with {process.wait()} and never printed {text}")


def finish(process: subprocess.Popen[str]) -> str:
    printed, _ = process.communicate(timeout=TIMEOUT_S)
    return printed


def resumed_step(printed: str) -> int:
    found = re.search(r"resumed from step (\d+)\n", printed)
    assert found, printed
    return int(found.group(1))


# ---- gpt2 ----------------------------------------------------------------------------


def gpt2(launcher: Launcher, folder: Path, *flags: str) -> subprocess.Popen[str]:
    return launcher.start(folder, str(TEMPLATES / "gpt2" / "train.py"), *SMALL, *flags)


def gpt2_losses(printed: str) -> dict[int, str]:
    return {int(step): loss for loss, step in GPT2_LINE.findall(printed)}


def test_gpt2_passes_over_a_checkpoint_that_was_being_written(
    launcher: Launcher, tmp_path: Path
) -> None:
    """A kill between the weights and trainer_state.json leaves a folder that can't be resumed."""
    assert gpt2_losses(finish(gpt2(launcher, tmp_path, "--max_steps=5")))
    torn = tmp_path / "checkpoints" / "checkpoint-8"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half of it")
    again = gpt2(launcher, tmp_path, "--max_steps=7")
    printed = finish(again)
    assert again.returncode == 0
    assert resumed_step(printed) == 5
    assert sorted(gpt2_losses(printed)) == [6, 7]


def test_gpt2_takes_no_step_when_all_are_taken(launcher: Launcher, tmp_path: Path) -> None:
    """A run that was killed after its last checkpoint only has its samples to write."""
    finish(gpt2(launcher, tmp_path, "--max_steps=5"))
    (tmp_path / "outputs" / "sample.txt").unlink()
    again = gpt2(launcher, tmp_path, "--max_steps=5")
    printed = finish(again)
    assert again.returncode == 0
    assert resumed_step(printed) == 5
    assert gpt2_losses(printed) == {}
    assert (tmp_path / "outputs" / "sample.txt").exists()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-5"]


# ---- ddp -----------------------------------------------------------------------------


def ddp(launcher: Launcher, folder: Path, *flags: str) -> list[subprocess.Popen[str]]:
    """Start two nodes of two processes, each with folders of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    options = ["--nnodes=2", "--nproc-per-node=2", "--local-addr=127.0.0.1"]
    options += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    script = [str(TEMPLATES / "ddp" / "train.py"), *SMALL, *flags]
    module = ["-m", "torch.distributed.run"]
    return [
        launcher.start(folder / str(rank), *module, *options, f"--node-rank={rank}", *script)
        for rank in (0, 1)
    ]


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").glob("*")}


@pytest.mark.parametrize("victim", [0, 1])
def test_ddp_ends_when_a_node_is_lost(launcher: Launcher, tmp_path: Path, victim: int) -> None:
    """The other node fails rather than hangs, also when nobody tells it to stop."""
    nodes = ddp(launcher, tmp_path, *LONG)
    read_until(nodes[0], "iter 12:")
    kill_tree(nodes[victim])
    for node in nodes:
        finish(node)
    assert nodes[1 - victim].returncode > 0


def test_ddp_stops_everywhere_after_the_same_step_when_one_node_is_told_to(
    launcher: Launcher, tmp_path: Path
) -> None:
    """SIGTERM on node 1, which saves nothing itself, leads to a checkpoint on node 0."""
    nodes = ddp(launcher, tmp_path, *LONG, "--save_every=1000")
    read_until(nodes[0], "iter 12:")
    nodes[1].send_signal(signal.SIGTERM)
    printed = finish(nodes[0])
    finish(nodes[1])
    found = re.search(r"stopped after step (\d+)\n", printed)
    assert found
    assert 12 <= int(found.group(1)) < 250
    assert checkpoints(tmp_path / "0") == {f"step-{found.group(1)}.pt"}
    assert all(node.returncode != 0 for node in nodes)
