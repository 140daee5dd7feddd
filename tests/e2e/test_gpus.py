"""GPUs, by a driver that only says that there are some: each job gets its own, and no more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

SHOW = """
    echo "node $LLMCLOUD_NODE_RANK has $CUDA_VISIBLE_DEVICES"
    while [ ! -e {go} ]; do sleep 0.05; done
"""
RESOURCES = "resources: {{accelerator: A100:{count}, nodes: {nodes}}}\n"


@pytest.fixture
def path(bench: Bench) -> str:
    """A PATH with a driver's tool for four A100 in it."""
    folder = bench.root / "driver"
    folder.mkdir()
    smi = folder / "nvidia-smi"
    rows = "\n".join(f"{n}, NVIDIA A100-SXM4-80GB, 81920, 10, 5" for n in range(4))
    smi.write_text(f"#!/bin/sh\ncat <<END\n{rows}\nEND\n")
    smi.chmod(0o755)
    return f"{folder}{os.pathsep}{bench.environ.get('PATH', os.defpath)}"


def test_nodes_and_jobs_get_gpus_of_their_own_and_no_more(bench: Bench, path: str) -> None:
    go = bench.root / "go"
    run = SHOW.format(go=go)
    two_nodes = bench.job("two", run, RESOURCES.format(count=1, nodes=2))
    first = bench.submit(two_nodes, env={"PATH": path})
    bench.await_log(first, "node 0 has 0")
    bench.await_log(first, "node 1 has 1")
    second = bench.submit(
        bench.job("rest", run, RESOURCES.format(count=2, nodes=1)), env={"PATH": path}
    )
    bench.await_log(second, "node 0 has 2,3")
    third = bench.submit(
        bench.job("none", run, RESOURCES.format(count=1, nodes=1)), env={"PATH": path}
    )
    assert "0 are free" in bench.await_state(third, "failed")["error"]
    go.touch()
    for job in (first, second):
        bench.await_state(job, "succeeded")


def test_more_gpus_than_there_are_is_no_capacity(bench: Bench, path: str) -> None:
    job = bench.job("many", "true", RESOURCES.format(count=8, nodes=1))
    done = bench.cli("submit", job, env={"PATH": path})
    assert done.code == 5
    assert "4 x NVIDIA A100-SXM4-80GB" in done.err
