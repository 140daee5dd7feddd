"""What a script sees, and the command that starts it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from llmcloud.runtime.launch import Peer, Place, command, shell, variables
from llmcloud.runtime.task import Task

PEERS = (Peer("10.0.0.1", 4001), Peer("10.0.0.2", 4002), Peer("10.0.0.3", 4003))
ROLES = ("chief", "worker", "ps")


def place(rank: int = 0, nodes: int = 3) -> Place:
    paths = [Path("/w", name) for name in ("code", "ckpt", "out", "data", "hp.json")]
    return Place(2, rank, PEERS[:nodes], *paths)


def test_each_process_set_knows_its_place_in_the_world() -> None:
    task = Task("j", "j", "true", roles=("worker",) * 3, processes_per_node=4)
    seen = variables(task, place(rank=2))
    assert {name: seen[name] for name in ("WORLD_SIZE", "RANK", "NODE_RANK", "LOCAL_RANK")} == {
        "WORLD_SIZE": "12",
        "RANK": "8",
        "NODE_RANK": "2",
        "LOCAL_RANK": "0",
    }
    assert (seen["MASTER_ADDR"], seen["MASTER_PORT"]) == ("10.0.0.1", "4001")
    assert seen["LLMCLOUD_NODE_IPS"] == "10.0.0.1,10.0.0.2,10.0.0.3"
    assert seen["LLMCLOUD_ATTEMPT"] == "2"
    assert "TF_CONFIG" not in seen


def test_tf_config_tells_the_cluster_and_the_task() -> None:
    seen = variables(Task("j", "j", "true", roles=ROLES), place(rank=1))
    assert json.loads(seen["TF_CONFIG"]) == {
        "cluster": {
            "chief": ["10.0.0.1:4001"],
            "worker": ["10.0.0.2:4002"],
            "ps": ["10.0.0.3:4003"],
        },
        "task": {"type": "worker", "index": 0},
    }


def test_hyperparameters_become_flags_and_variables_as_text() -> None:
    given = {"learning_rate": 3e-4, "warm": True, "note": "it's $HOME; rm", "n": 32}
    task = Task("j", "j", "echo {hyperparameters}", hyperparameters=given)
    done = subprocess.run(shell(command(task, place(nodes=1))), capture_output=True, check=True)
    wanted = "--learning_rate=0.0003 --warm=true --note=it's $HOME; rm --n=32\n"
    assert done.stdout.decode() == wanted
    seen = variables(task, place(nodes=1))
    assert seen["LLMCLOUD_HP_LEARNING_RATE"] == "0.0003"
    assert seen["LLMCLOUD_HP_WARM"] == "true"


@pytest.mark.parametrize(
    ("run", "ends"),
    [
        ("python train.py --a=1", " train.py --a=1"),
        ("python3 -u -m pkg.train", " -m pkg.train"),
        ("  python train.py\n", " train.py"),
    ],
)
def test_torchrun_starts_a_plain_python_command_itself(run: str, ends: str) -> None:
    task = Task("j", "j", run, roles=("worker",) * 3, launcher="torchrun", processes_per_node=2)
    made = command(task, place(rank=1))
    assert made.endswith(ends)
    assert "--no-python" not in made
    for option in ("--nnodes=3", "--nproc-per-node=2", "--node-rank=1", "--master-port=4001"):
        assert option in made


@pytest.mark.parametrize(
    "run", ["python a.py\npython b.py", "python a.py | tee x", "./a.sh", "python -c 1"]
)
def test_torchrun_runs_anything_else_in_a_shell(run: str) -> None:
    task = Task("j", "j", run, launcher="torchrun")
    assert "--no-python" in command(task, place(nodes=1))


@pytest.mark.parametrize("script", ["false\ntrue", "false | true"])
def test_a_script_stops_at_its_first_failure(script: str) -> None:
    assert subprocess.run(shell(script), check=False).returncode == 1
