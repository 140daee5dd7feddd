"""A host of a training job, by what SageMaker lays out for it."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.runtime import status
from llmcloud.runtime.errors import Unavailable
from llmcloud.runtime.machines import sagemaker
from llmcloud.runtime.machines.sagemaker import Host, hosts
from llmcloud.runtime.seat import Seat
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import open_store
from llmcloud.runtime.task import DataSource, Task

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.runtime.store import ObjectStore

JOB = "gpt-abcdef"


def config(current: str, groups: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "current_host": current,
        "hosts": sorted(host for each in groups.values() for host in each),
        "instance_groups": [
            {"instance_group_name": name, "hosts": each} for name, each in groups.items()
        ],
        "network_interface_name": "eth0",
    }


@pytest.fixture
def ml(tmp_path: Path) -> Path:
    for name in ("input/config", "input/data", "output"):
        (tmp_path / "ml" / name).mkdir(parents=True)
    made = config("algo-2", {"homogeneousCluster": ["algo-1", "algo-2"]})
    (tmp_path / "ml" / "input" / "config" / "resourceconfig.json").write_text(json.dumps(made))
    return tmp_path / "ml"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    made = open_store(f"file://{tmp_path}/store")
    made.create()
    return made


def ended(store: ObjectStore, state: State) -> None:
    first = Status(JOB, "gpt", "aws", "managed", "us-east-1", state, "2026-11-22T10:00:00Z")
    status.begin(store, first)


def test_ranks_are_counted_by_number_and_not_by_letter() -> None:
    names = [f"algo-{number}" for number in range(1, 12)]
    found = hosts(config("algo-1", {"homogeneousCluster": sorted(names)}), ("worker",) * 11)
    assert found == names


@given(st.permutations(["algo-1", "algo-2", "algo-3", "algo-4"]))
def test_the_ranks_of_groups_follow_the_roles(names: list[str]) -> None:
    """Whichever hosts the service has given to which group."""
    groups = {"worker": names[1:3], "ps": names[3:], "chief": names[:1]}
    found = hosts(config("algo-1", groups), ("chief", "worker", "worker", "ps"))
    assert found == [names[0], *sorted(names[1:3]), names[3]]


def test_a_host_furnishes_its_seat_with_the_services_folders(
    ml: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "mine")
    monkeypatch.delenv("NCCL_SOCKET_IFNAME", raising=False)
    (ml / "input" / "data" / "data-0").mkdir()
    (ml / "input" / "data" / "data-1").mkdir()
    (ml / "input" / "data" / "data-1" / "one.bin").write_bytes(b"1")
    data = (
        DataSource("data/0123/", "words"),
        DataSource("s3://b/one.bin", "first.bin", "mount"),
    )
    task = Task(JOB, "gpt", "true", ("worker", "worker"), data=data)
    host = Host(JOB, ml)
    rank = host.rank(store, task)
    assert rank == 1
    seat = Seat(store, task, rank, ml / "work", ml / "venvs", "10.0.0.1", "x", None)
    made = host.furnish(seat)
    assert [(each.source, each.mode) for each in made.task.data] == [
        (f"file://{ml}/input/data/data-0", "link"),
        (f"file://{ml}/input/data/data-1/one.bin", "mount"),
    ]
    made.code.mkdir(parents=True)
    for _ in range(2):
        made.link_checkpoints()
    assert made.checkpoints.resolve() == (ml / "checkpoints" / "00001").resolve()

    assert os.environ["GLOO_SOCKET_IFNAME"] == "mine"
    assert os.environ["NCCL_SOCKET_IFNAME"] == "eth0"


@pytest.mark.parametrize(
    ("state", "last", "code"),
    [
        (State.FAILED, True, 1),
        (State.LOST, True, 1),
        (State.FAILED, False, 0),
        (State.SUCCEEDED, True, 0),
        (State.CANCELLED, True, 0),
    ],
)
def test_the_service_is_told_of_a_failure_once(
    ml: Path, store: ObjectStore, state: State, last: bool, code: int
) -> None:
    ended(store, state)
    host = Host(JOB, ml)
    host.rank(store, Task(JOB, "gpt", "true", ("worker", "worker")))
    host.retire(last=last)
    assert host.exit_code == code
    assert (ml / "output" / "failure").exists() is bool(code)


@pytest.mark.parametrize(
    ("driver", "is_preferred"), [("550.90.07", True), ("580.65.06", False), ("595.58.03", False)]
)
def test_the_newer_cuda_driver_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, is_preferred: bool
) -> None:
    compat, version = tmp_path / "compat", tmp_path / "version"
    compat.mkdir()
    (compat / "libcuda.so.580.65.06").write_bytes(b"")
    (compat / "libcuda.so.1").symlink_to("libcuda.so.580.65.06")
    version.write_text(f"{driver}\n")
    monkeypatch.setattr(sagemaker, "CUDA_COMPAT", compat)
    monkeypatch.setattr(sagemaker, "DRIVER", version)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/before")
    sagemaker.prefer_cuda_compat()

    expected = f"{compat}:/before" if is_preferred else "/before"
    assert os.environ["LD_LIBRARY_PATH"] == expected


def test_a_host_waits_for_its_own_name(ml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([None, None, "10.0.0.2"])

    def look_up(name: str) -> str:
        assert name == "algo-2"
        if found := next(answers, None):
            return found
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(sagemaker, "NAMES_POLL_S", 0.0)
    monkeypatch.setattr(sagemaker.socket, "gethostbyname", look_up)
    assert Host(JOB, ml).host == "10.0.0.2"
    monkeypatch.setattr(sagemaker, "NAMES_S", 0.0)
    with pytest.raises(Unavailable, match="algo-2"):
        _ = Host(JOB, ml).host
