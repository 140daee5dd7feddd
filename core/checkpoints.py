"""A job's checkpoints as the command line sees them: list, pull, keep pulling."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core.errors import UsageError, listed
from llmcloud.core.transfer.errors import Damaged
from llmcloud.core.transfer.folder import FolderTarget, inside
from llmcloud.core.transfer.meter import Meter
from llmcloud.core.transfer.mover import Mover
from llmcloud.core.transfer.sides import Item
from llmcloud.core.transfer.space import check_space
from llmcloud.core.transfer.store import StoreSource
from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.checkpoints.upload import digest_of
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from llmcloud.runtime.checkpoints.manifest import Manifest, ShippedFile
    from llmcloud.runtime.store import ObjectStore

WATCH_INTERVAL_S = 2.0
TRIES = 3  # the newest may be pruned under a pull; then there is a newer one
NAMED = 5  # of the files that are in the way


@dataclass(frozen=True)
class CheckpointInfo:
    """One checkpoint of a job; one with a `problem` can't be pulled or resumed from."""

    step: int
    created_at: str | None = None
    size_bytes: int = 0
    files: int = 0
    attempt: int | None = None
    problem: str | None = None

    @property
    def is_valid(self) -> bool:
        """Tell whether it can be pulled."""
        return self.problem is None


def listing(store: ObjectStore, job: str) -> list[CheckpointInfo]:
    """Return a job's checkpoints, the oldest first, those that are not whole included."""
    return [_describe(store, job, step) for step in manifests.steps(store, job)]


def pull(
    store: ObjectStore,
    job: str,
    target: Path,
    *,
    step: int | None = None,
    force: bool = False,
    meter: Meter | None = None,
) -> CheckpointInfo:
    """Bring a checkpoint (the newest without `step`) into a folder under its original names.

    Continues an interrupted pull; what is there already with the right digest isn't fetched.
    Raises NotFound with the steps there are, UsageError when other files are in the way (unless
    `force`), Damaged when the store's bytes are wrong, Unavailable when the disk is full.
    """
    for is_last in [False] * (TRIES - 1) + [True]:
        manifest = _find(store, job, step)
        try:
            _bring(store, job, _Pull(manifest, target, force, frozenset()), meter or Meter())
        except (NotFound, Damaged):
            if is_last or _still_stands(store, job, manifest):
                raise
            continue
        break
    return _info(manifest)


def watch(
    store: ObjectStore,
    job: str,
    target: Path,
    *,
    is_over: Callable[[], bool],
    wait: Callable[[float], None],
    force: bool = False,
    meter: Meter | None = None,
) -> Iterator[CheckpointInfo]:
    """Pull the newest checkpoint, then each new one, until the job is over and all are here.

    A checkpoint that is pruned while it is pulled is passed over. A file that an earlier pull of
    this watch wrote (`ckpt.pt`) is replaced by the newer one.
    """
    meter = meter or Meter()
    seen: set[tuple[int, str]] = set()
    ours: set[str] = set()
    while True:
        over = is_over()  # asked first: what is complete by then is pulled below
        found = list(manifests.complete(store, job))
        fresh = [each for each in found if (each.step, each.created_at) not in seen]
        for manifest in reversed(fresh if seen else fresh[:1]):
            try:
                _bring(store, job, _Pull(manifest, target, force, frozenset(ours)), meter)
            except (NotFound, Damaged):
                if _still_stands(store, job, manifest):
                    raise
                continue
            ours.update(file.name for file in manifest.files)
            yield _info(manifest)
        seen.update((each.step, each.created_at) for each in found)
        if over:
            return
        wait(WATCH_INTERVAL_S)


@dataclass(frozen=True)
class _Pull:
    manifest: Manifest
    target: Path
    force: bool
    replaceable: Collection[str]


def _bring(store: ObjectStore, job: str, wanted: _Pull, meter: Meter) -> None:
    manifest = wanted.manifest
    prefix = layout.checkpoint(job, manifest.step)
    source = StoreSource(store, prefix, {file.name: prefix + file.key for file in manifest.files})
    target = FolderTarget(wanted.target)
    items = [Item(file.name, file.size, 0.0, sha256=file.sha256) for file in _missing(wanted)]
    check_space(wanted.target, sum(target.missing_bytes(item) for item in items))
    mover = Mover(source, target, meter)
    with mover.running():
        for item in items:
            mover.add(item)
    if mover.failed:
        raise mover.failed[min(mover.failed)]
    for link in manifest.links:
        _link(wanted.target, link.name, link.target)


def _missing(wanted: _Pull) -> list[ShippedFile]:
    """Return what is to be fetched; UsageError naming all that is in the way."""
    missing, in_the_way = [], []
    for file in wanted.manifest.files:
        path = inside(wanted.target, file.name)
        if path.is_symlink() or path.is_dir():
            in_the_way.append(file.name)
        elif path.exists():
            if path.stat().st_size == file.size and digest_of(path) == file.sha256:
                continue
            if not wanted.force and file.name not in wanted.replaceable:
                in_the_way.append(file.name)
        missing.append(file)
    if in_the_way:
        raise UsageError(
            f"Other files are in the way: {listed(in_the_way, NAMED)}.",
            where=str(wanted.target),
            fix="Choose another folder with --to, or replace files with --force.",
        )
    return missing


def _link(target: Path, name: str, to: str) -> None:
    path = inside(target, name)
    pointed_at = inside(target, to)
    if not path.exists() and not path.is_symlink():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(pointed_at, path.parent))


def _find(store: ObjectStore, job: str, step: int | None) -> Manifest:
    if step is None:
        manifest = manifests.newest_valid(store, job)
        if manifest is None:
            raise NotFound(
                f"{job} has no complete checkpoint yet.",
                fix=f"Wait for the first with: llmcloud checkpoints pull {job} --watch",
            )
        return manifest
    found = {each.step: each for each in listing(store, job)}
    if step not in found or not found[step].is_valid:
        there = ", ".join(str(each.step) for each in found.values() if each.is_valid)
        reason = f": {found[step].problem}" if step in found else ""
        raise NotFound(
            f"{job} has no complete checkpoint of step {step}{reason}.",
            fix=f"There are the steps {there}." if there else "There is none at all yet.",
        )
    return manifests.read(store, job, step)


def _still_stands(store: ObjectStore, job: str, manifest: Manifest) -> bool:
    try:
        return manifests.read(store, job, manifest.step) == manifest
    except (NotFound, manifests.BadManifest):
        return False


def _describe(store: ObjectStore, job: str, step: int) -> CheckpointInfo:
    try:
        manifest = manifests.read(store, job, step)
    except NotFound:
        return CheckpointInfo(step, problem="it is not complete")
    except manifests.BadManifest as failure:
        return CheckpointInfo(step, problem=failure.what)
    return _info(manifest, manifests.missing_from(store, job, manifest))


def _info(manifest: Manifest, problem: str | None = None) -> CheckpointInfo:
    return CheckpointInfo(
        manifest.step,
        manifest.created_at,
        manifest.size_bytes,
        len(manifest.files),
        manifest.attempt,
        problem,
    )
