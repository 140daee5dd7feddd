"""Jobs that never ran: their documents, logs and heartbeats, written as a submit and nodes do."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core.home import Home
from llmcloud.core.job import Job
from llmcloud.core.plan import make
from llmcloud.core.spec.load import load
from llmcloud.core.spec.task import task_of
from llmcloud.runtime import heartbeat, layout, status
from llmcloud.runtime.capture import Capture
from llmcloud.runtime.heartbeat import Heartbeat, Phase
from llmcloud.runtime.segments import SegmentWriter
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import open_store
from llmcloud.runtime.usage import Sampler

if TYPE_CHECKING:
    from llmcloud.runtime.store import ObjectStore

SPEC = Path(__file__).parents[1] / "templates" / "tiny-gpt" / "job.yaml"
FIRST_S = 1_790_000_000.0
LINE = b"iter %d: loss 3.1415, tokens/s 12345.6, learning rate 0.0003, time 12.34 ms\n"
ENDS = (State.SUCCEEDED, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SUCCEEDED)


def jobs(home: Path, first: int, last: int) -> None:
    """Write jobs by number, each with its document and its end."""
    store, job = _store(home), _job(home)
    for number in range(first, last):
        _write(store, job, f"tiny-gpt-{number:06d}", ENDS[number % len(ENDS)], FIRST_S + number)


def log(home: Path, job_id: str, lines: int) -> None:
    """Write a job whose node has printed so many lines."""
    store = _store(home)
    _write(store, _job(home), job_id, State.SUCCEEDED, FIRST_S)
    with tempfile.TemporaryDirectory() as spool:
        prefix = layout.stream(job_id, "logs", 1, 0)
        writer = SegmentWriter(store, prefix, Path(spool, "logs"))
        capture = Capture(writer.append, lambda _: None)
        for begin in range(0, lines, 1000):
            capture.feed("stdout", b"".join(LINE % n for n in range(begin, begin + 1000)))
            writer.flush()
        writer.close()


def running(home: Path, job_id: str, nodes: int) -> None:
    """Write a job that runs on so many nodes, each of which has said so."""
    store, job = _store(home), _job(home)
    task = dataclasses.replace(job.task, roles=("worker",) * nodes)
    _write(store, dataclasses.replace(job, task=task), job_id, State.RUNNING, FIRST_S)
    for rank in range(nodes):
        heartbeat.write(store, job_id, 1, beat(rank))


def beat(rank: int) -> Heartbeat:
    """Return a heartbeat as a node in training writes it."""
    usage = Sampler(Path("/tmp")).sample().to_document()
    now = status.now()
    return Heartbeat(rank, "worker", os.urandom(16).hex(), now, Phase.RUNNING, usage=usage)


def _store(home: Path) -> ObjectStore:
    store = open_store(Home(home, home / "config.yaml").store_url)
    store.create()
    return store


def _job(home: Path) -> Job:
    loaded = load(str(SPEC), environ={"LLMCLOUD_HOME": str(home)})
    plan, _ = make(loaded, Home(home, home / "config.yaml"), "tiny-gpt")
    return Job(
        id="tiny-gpt",
        name=loaded.spec.name,
        provider="local",
        service="vm",
        region=None,
        store=(home / "store").as_uri(),
        created_at=status.rfc3339(FIRST_S),
        spec=loaded.document,
        spec_digest=loaded.digest,
        plan=plan.to_document(),
        task=task_of(loaded.spec, job="tiny-gpt", code="0" * 64, data=()),
        runtime="0" * 64,
    )


def _write(store: ObjectStore, job: Job, job_id: str, state: State, begun_s: float) -> None:
    created_at = status.rfc3339(begun_s)
    task = dataclasses.replace(job.task, job=job_id)
    mine = dataclasses.replace(job, id=job_id, created_at=created_at, task=task)
    now = Status(
        job=job_id,
        name=job.name,
        provider=job.provider,
        service=job.service,
        region=job.region,
        state=state,
        created_at=created_at,
        started_at=status.rfc3339(begun_s + 2),
        ended_at=status.rfc3339(begun_s + 600) if state.is_final else None,
        exit_code=0 if state is State.SUCCEEDED else None,
    )
    store.put(layout.job_document(job_id), mine.to_json())
    store.put(layout.status(job_id), now.to_json())
