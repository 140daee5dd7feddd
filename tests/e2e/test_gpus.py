"""GPUs are shared out between the jobs of a machine: with an nvidia-smi that tells of two."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

SMI = """#!/bin/sh
echo "0, NVIDIA A100-SXM4-80GB, 81920, 10, 5"
echo "1, NVIDIA A100-SXM4-80GB, 81920, 20, 6"
"""
RUN = "echo sees $CUDA_VISIBLE_DEVICES; sleep 1000"


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """Put the driver's tool on the path."""
    folder = bench.root / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(SMI)
    (folder / "nvidia-smi").chmod(0o755)
    bench.environ["PATH"] = os.pathsep.join((str(folder), bench.environ["PATH"]))
    return bench


def test_two_jobs_get_a_gpu_each_and_a_third_is_told_that_none_is_free(bench: Bench) -> None:
    wanted = "resources: {accelerator: A100:1}\n"
    first, second = (bench.submit(bench.job(name, RUN, wanted)) for name in ("one", "two"))
    for job, gpu in ((first, "0"), (second, "1")):
        bench.await_log(job, f"sees {gpu}")
    done = bench.cli("submit", bench.job("three", RUN, wanted))
    assert done.code == 5
    assert "0 are free" in done.err
    assert bench.status("three")["state"] == "failed"
    assert bench.cli("cancel", first).code == 0
    again = bench.submit(bench.job("again", RUN, wanted))
    bench.await_log(again, "sees 0")
    usage = bench.store.get(f"jobs/{again}/nodes/0001/00000.json").data
    assert b"A100" in usage
    for job in (second, again):
        assert bench.cli("cancel", job).code == 0


def test_each_node_of_a_job_gets_its_own(bench: Bench) -> None:
    wanted = "resources: {accelerator: A100:1, nodes: 2}\n"
    job = bench.submit(bench.job("both", RUN, wanted))
    bench.await_log(job, "sees 0", node=0)
    bench.await_log(job, "sees 1", node=1)
    assert bench.cli("cancel", job).code == 0
    done = bench.cli("submit", bench.job("many", RUN, "resources: {accelerator: A100:3}\n"))
    assert done.code == 5
    assert "2 x NVIDIA A100" in done.err
