"""Keeps the newest checkpoints in the store and removes the rest."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmcloud.runtime.checkpoints.manifest import Manifest
    from llmcloud.runtime.store import ObjectStore


def prune(store: ObjectStore, job: str, keep: int, busy: Collection[int]) -> None:
    """Keep the `keep` newest complete checkpoints (0: all) and those of the steps in `busy`.

    COMPLETE goes first, so that what is half deleted is no checkpoint. Leftovers without COMPLETE
    go when they are older than the newest complete checkpoint.
    """
    complete = [manifest.step for manifest in manifests.complete(store, job)]
    if not complete:
        return
    kept = {*(complete[:keep] if keep else complete), *busy}
    for step in manifests.steps(store, job):
        if step < complete[0] and step not in kept:
            remove(store, job, step)


def remove(store: ObjectStore, job: str, step: int) -> None:
    """Remove one checkpoint, its manifest first."""
    store.delete(layout.checkpoint_complete(job, step))
    for entry in store.objects(layout.checkpoint(job, step)):
        store.delete(entry.key)


def drop_unused(store: ObjectStore, job: str, manifest: Manifest) -> None:
    """Remove what an earlier try left under a checkpoint's prefix."""
    prefix = layout.checkpoint(job, manifest.step)
    used = {prefix + file.key for file in manifest.files}
    used.add(layout.checkpoint_complete(job, manifest.step))
    with contextlib.suppress(NotFound):
        for entry in store.objects(prefix):
            if entry.key not in used:
                store.delete(entry.key)
