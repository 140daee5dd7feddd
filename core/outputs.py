"""What a job left under its outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.core import sync
from llmcloud.runtime import layout, status
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmcloud.core.sync import Summary
    from llmcloud.core.transfer import Progress
    from llmcloud.runtime.store import ObjectStore


def pull(
    store: ObjectStore, job: str, target: Path, progress: Callable[[Progress], None]
) -> Summary:
    """Bring a job's outputs into a folder; those of several nodes into `node-RANK` below it."""
    ranks = layout.numbers(store.folders(layout.outputs(job)))
    if not ranks:
        state = status.read(store, job).state.value
        raise NotFound(
            f"{job} has no outputs; its state: {state}.",
            where="outputs",
            fix="They are uploaded when an attempt ends; `outputs:` in the job file names them.",
        )
    options = sync.Options(progress=progress)
    summaries = [
        sync.pull(
            store,
            layout.outputs(job, rank),
            target if len(ranks) == 1 else target / f"node-{rank}",
            options,
        )
        for rank in ranks
    ]
    return sync.Summary(
        tuple(name for each in summaries for name in each.transferred),
        sum(each.unchanged for each in summaries),
        sum(each.size_bytes for each in summaries),
    )
