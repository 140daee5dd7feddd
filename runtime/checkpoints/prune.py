"""Keeps the newest checkpoints in the store and removes the rest."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmcloud.runtime.checkpoints.manifest import Manifest
    from llmcloud.runtime.store import ObjectStore


def prune(store: ObjectStore, job: str, keep: int, shipped: int, busy: Collection[int]) -> None:
    """Keep the `keep` newest complete checkpoints (0: all) and the one just `shipped`.

    COMPLETE goes first, so that what is half deleted is no checkpoint. Leftovers without COMPLETE
    go as well when they are older than the newest complete checkpoint, and not in `busy`.
    """
    if not keep:
        return
    newest = [each.step for each in itertools.islice(manifests.complete(store, job), keep)]
    for step in manifests.steps(store, job):
        if step >= newest[0] or step in {*newest, shipped}:
            continue
        if step in busy and not store.exists(layout.checkpoint_complete(job, step)):
            continue
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
