"""`watch` of real jobs: it ends as they do, and leaves without harm."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench


@pytest.mark.parametrize(("run", "code"), [("true", 0), ("exit 3", 7)])
def test_a_watch_ends_as_the_job_did(bench: Bench, run: str, code: int) -> None:
    """While the job runs, and again when it has ended."""
    job = bench.submit(bench.job("ends", f"echo step=1 loss=0.5 total=2; {run}"))
    done = bench.cli("watch", job, "--json")
    assert done.code == code, done.err
    last = done.objects[-1]
    assert last["state"] == ("failed" if code else "succeeded")
    assert last["progress"]["step"] == 1
    again = bench.cli("watch", job)
    assert again.code == code
    assert again.out.splitlines() == [
        ("failed" if code else "succeeded") + "  attempt 1  step 1  loss 0.5"
    ]


def test_ctrl_c_leaves_the_job_alone(bench: Bench) -> None:
    job = bench.submit(bench.job("stays", "echo step=1 loss=0.5; sleep 1000"))
    bench.await_log(job, "step=1")
    watching = bench.start("watch", job)
    assert watching.stdout.readline().startswith(b"running  attempt 1")
    watching.send_signal(signal.SIGINT)
    done = bench.end(watching)
    assert done.code == 130
    assert f"llmcloud watch {job}" in done.err
    assert bench.state(job)["state"] == "running"
    assert bench.cli("cancel", job).code == 0
    assert bench.cli("watch", job).code == 8
