"""Brings the checkpoint folder to the newest valid checkpoint of the store."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints import aside, validity
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.checkpoints.found import scan
from llmcloud.runtime.checkpoints.upload import digest_of
from llmcloud.runtime.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmcloud.runtime.checkpoints.manifest import Manifest, ShippedFile
    from llmcloud.runtime.store import ObjectStore


class _Damaged(Exception):
    """An object of the checkpoint is not what its manifest says."""


def restore(
    store: ObjectStore,
    job: str,
    directory: Path,
    *,
    step: int | None = None,
    rank: int = 0,
    set_aside: Path | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> int | None:
    """Make the folder hold exactly one valid checkpoint, and return its step.

    That is the newest, or that of `step` (NotFound when it is not there or not whole). Each file
    is checked against the manifest's digest; a local one that matches is kept. All else in the
    folder moves to `set_aside` (beside the folder by default). When the store has no valid
    checkpoint, only torn ones are set aside, and None is returned.
    """
    directory = directory.resolve()
    where = set_aside or aside.default_folder(directory)
    for manifest in manifests.complete(store, job, warn=warn):
        if step not in {None, manifest.step}:
            continue
        try:
            _bring(store, job, directory, (manifest, rank, where))
        except (_Damaged, NotFound) as problem:
            warn(f"Checkpoint {manifest.step} is passed over: {problem}")
            continue
        except OSError as error:
            raise Unavailable(
                f"The checkpoint folder can't be filled: {error.strerror}.",
                where=str(error.filename or directory),
                fix=f"Checkpoint {manifest.step} needs {manifest.size_bytes:,} bytes.",
            ) from error
        return manifest.step
    if step is not None:
        raise NotFound(
            f"There is no whole checkpoint of step {step}.",
            where=f"{store.url}, {layout.checkpoint(job, step)}",
            fix=f"See what there is: llmcloud checkpoints list {job}",
        )
    set_torn_aside(directory, where, warn)
    return None


def was_cut_off(directory: Path) -> bool:
    """Tell whether the folder may be half restored: nothing in it is to be believed."""
    return _staging(directory.resolve()).exists()


def set_torn_aside(directory: Path, where: Path, warn: Callable[[str], None]) -> None:
    """Move every checkpoint of the folder that is not whole out of it."""
    for candidate in scan(directory).candidates:
        reason = validity.check_files([file.path for file in candidate.files])
        if reason:
            warn(f"A torn checkpoint is set aside in {where}: {reason}")
            files = (*candidate.files, *candidate.unfinished)
            aside.set_aside(directory, [file.name for file in files], where)


def _bring(store: ObjectStore, job: str, directory: Path, what: tuple[Manifest, int, Path]) -> None:
    manifest, rank, where = what
    if problem := manifests.missing_from(store, job, manifest):
        raise _Damaged(problem)
    wanted = manifest.for_rank(rank)
    staging = _staging(directory)
    kept = _matching(directory, wanted)
    prefix = layout.checkpoint(job, manifest.step)
    for name, file in wanted.items():
        if name not in kept:
            _download(store, prefix + file.key, staging / name, file)
    staging.mkdir(parents=True, exist_ok=True)
    aside.set_aside(directory, list(aside.all_but(directory, kept)), where)
    for name in wanted.keys() - kept:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(target)
    directory.mkdir(parents=True, exist_ok=True)
    for link in manifest.links:
        _link(directory, link.name, link.target)
    shutil.rmtree(staging, ignore_errors=True)


def _staging(directory: Path) -> Path:
    return directory.parent / f".{directory.name}.restoring"


def _matching(directory: Path, wanted: dict[str, ShippedFile]) -> set[str]:
    """Return the names whose local file is what the manifest lists; links count for nothing."""
    return {
        name
        for name, file in wanted.items()
        if not _passes_a_link(directory, name)
        and (directory / name).is_file()
        and (directory / name).stat().st_size == file.size
        and digest_of(directory / name) == file.sha256
    }


def _passes_a_link(directory: Path, name: str) -> bool:
    path = directory / name
    return any(each.is_symlink() for each in [path, *path.parents[: name.count("/")]])


def _download(store: ObjectStore, key: str, target: Path, file: ShippedFile) -> None:
    if target.is_file() and digest_of(target) == file.sha256:  # an earlier restore was cut off
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = store.get_file(key, target)
    if digest != file.sha256:
        target.unlink(missing_ok=True)
        raise _Damaged(f"{file.name} does not have the digest of its manifest")


def _link(directory: Path, name: str, target: str) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.symlink_to(os.path.relpath(directory / target, path.parent))
