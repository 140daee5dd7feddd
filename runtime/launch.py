"""What a training script sees, and the command that starts it: one set on every provider."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.runtime.task import Task


@dataclass(frozen=True)
class Peer:
    """A node as the others reach it; `port` is one that it found free."""

    host: str
    port: int


@dataclass(frozen=True)
class Place:
    """Where a launch happens: which attempt, which node, among which peers (by rank)."""

    attempt: int
    rank: int
    peers: tuple[Peer, ...]
    code: Path
    checkpoints: Path
    outputs: Path
    data: Path
    hyperparameters: Path


def variables(task: Task, place: Place) -> dict[str, str]:
    """Return the environment variables that tell a script about its job."""
    chief = place.peers[0]
    world_size = task.nodes * task.processes_per_node
    found = {
        "LLMCLOUD_JOB": task.job,
        "LLMCLOUD_ATTEMPT": str(place.attempt),
        "LLMCLOUD_NODE_RANK": str(place.rank),
        "LLMCLOUD_NODES": str(task.nodes),
        "LLMCLOUD_NODE_IPS": ",".join(peer.host for peer in place.peers),
        "LLMCLOUD_ROLE": task.roles[place.rank],
        "LLMCLOUD_CHECKPOINT_DIR": str(place.checkpoints),
        "LLMCLOUD_OUTPUT_DIR": str(place.outputs),
        "LLMCLOUD_DATA_DIR": str(place.data),
        "LLMCLOUD_HYPERPARAMETERS": str(place.hyperparameters),
        "MASTER_ADDR": chief.host,
        "MASTER_PORT": str(chief.port),
        "WORLD_SIZE": str(world_size),
        "NODE_RANK": str(place.rank),
        "RANK": str(place.rank * task.processes_per_node),
        "LOCAL_RANK": "0",
        "PYTHONUNBUFFERED": "1",  # or a pipe holds the log back
    }
    if set(task.roles) != {"worker"}:
        found["TF_CONFIG"] = tf_config(task, place)
    for name, value in task.hyperparameters.items():
        found[hyperparameter_variable(name)] = _text(value)
    return found


def hyperparameter_variable(name: str) -> str:
    """Return the environment variable that carries a hyperparameter."""
    return "LLMCLOUD_HP_" + re.sub(r"\W", "_", name).upper()


def tf_config(task: Task, place: Place) -> str:
    """Return TensorFlow's description of the cluster and of this node's part in it."""
    cluster: dict[str, list[str]] = {}
    for role, peer in zip(task.roles, place.peers):  # noqa: B905  the runtime has Python 3.10
        cluster.setdefault(role, []).append(f"{peer.host}:{peer.port}")
    role = task.roles[place.rank]
    index = task.roles[: place.rank].count(role)
    return json.dumps({"cluster": cluster, "task": {"type": role, "index": index}})


def command(task: Task, place: Place) -> str:
    """Return the shell command that this node runs."""
    flags = shlex.join(f"--{name}={_text(value)}" for name, value in task.hyperparameters.items())
    run = task.run.replace("{hyperparameters}", flags)
    if task.launcher == "torchrun":
        return _torchrun(task, place, run)
    return run


def shell(script: str) -> list[str]:
    """Return the argv that runs a script of one or more lines and stops at the first failure."""
    if shutil.which("bash"):
        return ["bash", "-e", "-o", "pipefail", "-c", script]
    return ["sh", "-e", "-c", script]


def _torchrun(task: Task, place: Place, run: str) -> str:
    chief = place.peers[0]
    options = [
        f"--nnodes={task.nodes}",
        f"--nproc-per-node={task.processes_per_node}",
        f"--node-rank={place.rank}",
        f"--master-addr={chief.host}",
        f"--master-port={chief.port}",
        f"--local-addr={place.peers[place.rank].host}",
    ]
    script = _python_script(run)
    if script:
        return shlex.join(["python", "-m", "torch.distributed.run", *options]) + " " + script
    wrapped = ["--no-python", *shell(run)]
    return shlex.join(["python", "-m", "torch.distributed.run", *options, *wrapped])


def _python_script(run: str) -> str:
    """Return what follows `python` in a run that is one plain command, else an empty string."""
    plain = r"python3? +(?:-u +)?((?:-m +)?[\w./][\w./-]*(?: [^\n;&|<>]*)?)"
    found = re.fullmatch(plain, run.strip())
    return found.group(1) if found else ""


def _text(value: str | int | float | bool) -> str:
    """Write a hyperparameter as a command line wants it: true, not True."""
    return str(value).lower() if isinstance(value, bool) else str(value)
