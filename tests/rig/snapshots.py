"""Snapshots of jobs that never were, for what draws and prints them."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from llmcloud.core.job import Job, View
from llmcloud.core.provider import Offer
from llmcloud.core.watch import LogLine, Snapshot
from llmcloud.runtime import layout, status
from llmcloud.runtime.heartbeat import Heartbeat, Outcome, Phase
from llmcloud.runtime.metrics.progress import Progress
from llmcloud.runtime.status import State, Status, epoch_s
from llmcloud.runtime.task import Task

if TYPE_CHECKING:
    from llmcloud.runtime.store import FileStore

AT = "2026-11-21T10:30:00.000Z"
H100S = [
    {
        "index": index,
        "name": "NVIDIA H100",
        "memory_total_bytes": 85_000_000_000,
        "memory_used_bytes": 71_000_000_000,
        "utilization_percent": 96.0,
    }
    for index in range(8)
]
USAGE: dict[str, object] = {
    "cpu_percent": 41.3,
    "memory_used_bytes": 210_000_000_000,
    "memory_total_bytes": 2_000_000_000_000,
    "gpus": H100S,
    "of_a_newer_version": True,
}


def submitted() -> Snapshot:
    """Return a job that nobody has heard of yet."""
    seen = Status(
        "gpt2-k3m9pa", "gpt2", "aws", "vm", "us-east-1", State.STAGING, "2026-11-21T10:29:30.000Z"
    )
    return Snapshot(epoch_s(AT), View(seen, [], {}), ("worker", "worker"), Progress())


def starting(*phases: Phase) -> Snapshot:
    """Return a job whose machines are there; the first nodes are in these phases."""
    begun = submitted()
    now = replace(begun.view.status, state=State.PROVISIONING)
    beats = {
        rank: Heartbeat(rank, "worker", "x", "2026-11-21T10:29:57.000Z", phase)
        for rank, phase in enumerate(phases)
    }
    return replace(begun, view=replace(begun.view, status=now, beats=beats))


def running(nodes: int = 2) -> Snapshot:
    """Return a job that trains on GPUs, and evaluates now and then."""
    begun = submitted()
    now = replace(
        begun.view.status,
        state=State.RUNNING,
        attempt=2,
        created_at="2026-11-21T08:05:00.000Z",
        started_at="2026-11-21T08:15:00.000Z",
    )
    beats = {
        rank: Heartbeat(
            rank, "worker", "x", f"2026-11-21T10:29:5{7 - rank % 7}.000Z", Phase.RUNNING
        )
        for rank in range(nodes)
    }
    beats = {rank: replace(beat, usage=USAGE) for rank, beat in beats.items()}
    values = {"loss": 3.0412, "lr": 0.00023, "eval_loss": 3.2, "tok_s": 412_345.0, "epoch": 1.25}
    return replace(
        begun,
        view=View(now, [], beats, price_usd_per_hour=98.32),
        roles=("worker",) * nodes,
        progress=Progress(6000, 10_000, values, 0.82, 412_345.0, 4878.0),
        loss=tuple((step, 3 + 7 * math.exp(-step / 900)) for step in range(0, 6001, 50)),
        eval_loss=tuple((step, 3.2 + 7 * math.exp(-step / 900)) for step in range(500, 6001, 500)),
        checkpoints=(5000, 5500, 6000),
        log=tuple(LogLine(step % nodes, f"iter {step}: loss 3.04") for step in range(5980, 6001)),
    )


def failed() -> Snapshot:
    """Return a job whose second node failed."""
    before = running()
    now = replace(
        before.view.status,
        state=State.FAILED,
        ended_at="2026-11-21T10:29:58.000Z",
        exit_code=3,
        error="Node 1 failed: its command exited with 3.\nIt was:\tpython train.py",
    )
    beats = dict(before.view.beats)
    beats[0] = replace(beats[0], phase=Phase.ENDED, outcome=Outcome.STOPPED)
    beats[1] = replace(beats[1], phase=Phase.ENDED, outcome=Outcome.FAILED, exit_code=3)
    view = replace(before.view, status=now, beats=beats)
    return replace(before, view=view, is_over=True)


def plan_on(provider: str) -> dict[str, Any]:
    """Return a plan's document with one offer, which costs nothing."""
    offer = Offer(provider, "vm", None, "a machine", 1, 1 << 30, 0.0)
    return {"offer": asdict(offer), "alternatives": []}


def put_job(store: FileStore, seen: Status) -> None:
    """Write a job of one node into a store, as its submit would."""
    job = Job(
        id=seen.job,
        name=seen.name,
        provider=seen.provider,
        service=seen.service,
        region=seen.region,
        store=store.url,
        created_at=seen.created_at,
        spec={},
        spec_digest="",
        plan=plan_on(seen.provider),
        task=Task(seen.job, seen.name, "python train.py", outputs=("results/",)),
        runtime="",
    )
    store.put(layout.job_document(seen.job), job.to_json())
    status.begin(store, seen)
