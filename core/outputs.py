"""What a job left under its outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.core.sync import Options, Summary, sync
from llmcloud.core.transfer.folder import FolderTarget
from llmcloud.core.transfer.store import StoreSource
from llmcloud.runtime import layout, status
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.runtime.store import ObjectStore


def pull(store: ObjectStore, job: str, target: Path, options: Options) -> Summary:
    """Bring a job's outputs into a folder; those of several nodes into `node-RANK` below it."""
    ranks = layout.numbers(store.folders(layout.outputs(job)))
    if not ranks:
        state = status.read(store, job).state.value
        raise NotFound(
            f"{job} has no outputs; its state: {state}.",
            where="outputs",
            fix="They are uploaded when an attempt ends; `outputs:` in the job file names them.",
        )
    for rank in ranks:
        sync(
            StoreSource(store, layout.outputs(job, rank)),
            FolderTarget(target if len(ranks) == 1 else target / f"node-{rank}"),
            options,
        )
    meter = options.meter
    return Summary(meter.files_done, meter.bytes_done, meter.unchanged)
