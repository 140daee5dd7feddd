"""Carries one checkpoint's files to the store, and writes the manifest that makes them count."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints.manifest import BadManifest, Manifest, ShippedFile, ShippedLink
from llmcloud.runtime.digests import sha256_of
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.file_names import is_safe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmcloud.runtime.checkpoints.found import Candidate
    from llmcloud.runtime.store import ObjectStore


class Changed(Exception):
    """The files changed or went while they were read; the next look starts over."""


@dataclass(frozen=True)
class Standing:
    """What the store has under a step's COMPLETE; the etag is the condition for replacing it."""

    manifest: Manifest | None = None
    etag: str | None = None

    @classmethod
    def of(cls, store: ObjectStore, job: str, step: int) -> Standing:
        """Read it; a manifest that is broken stands for nothing, but has an etag."""
        key = layout.checkpoint_complete(job, step)
        try:
            blob = store.get(key)
        except NotFound:
            return cls()
        try:
            manifest = Manifest.from_json(blob.data, key)
        except BadManifest:
            return cls(None, blob.etag)
        return cls(manifest, blob.etag)


def upload(
    store: ObjectStore, prefix: str, folder: str, candidate: Candidate, go_on: Callable[[], None]
) -> tuple[ShippedFile, ...]:
    """Write a candidate's files below `prefix` + `folder`; `go_on` may raise between two files."""
    files = (*candidate.files, *candidate.pointers)
    shipped = []
    for file in files:
        go_on()
        if not is_safe(file.name):
            raise Changed(f"{file.name!r} can't be the name of an object.")
        try:
            digest = store.put_file(prefix + folder + file.name, file.path)
        except OSError as error:
            raise Changed(f"{file.name} went while it was read.") from error
        shipped.append(ShippedFile(file.name, file.size, digest, folder + file.name))
        if not file.is_unchanged():
            raise Changed(f"{file.name} changed while it was read.")
    if not all(file.is_unchanged() for file in candidate.files):
        raise Changed("A file changed while the others were read.")
    return tuple(shipped)


def folder_for(standing: Standing) -> str:
    """Return where the files go: beside those that a standing manifest refers to, never over them.

    So the step always has one whole checkpoint: the former, until its manifest is replaced.
    """
    return f".again-{uuid.uuid4().hex[:8]}/" if standing.manifest else ""


def write_complete(store: ObjectStore, job: str, manifest: Manifest, standing: Standing) -> None:
    """Write COMPLETE under the condition that nobody else did since `standing` was read."""
    key = layout.checkpoint_complete(job, manifest.step)
    if standing.etag is None:
        store.put(key, manifest.to_json(), if_absent=True)
    else:
        store.put(key, manifest.to_json(), if_match=standing.etag)


def is_same(candidate: Candidate, manifest: Manifest, rank: int = 0) -> bool:
    """Tell whether the files are, byte for byte, what a manifest has for a node."""
    wanted = manifest.for_rank(rank)
    local = {file.name: file for file in (*candidate.files, *candidate.pointers)}
    own = {file.name for file in candidate.files}
    if not own <= wanted.keys() <= local.keys():
        return False
    if any(local[name].size != file.size for name, file in wanted.items()):
        return False
    return all(digest_of(local[name].path) == file.sha256 for name, file in wanted.items())


def links_of(candidate: Candidate) -> tuple[ShippedLink, ...]:
    """Return the symlinks that travel with a candidate."""
    return tuple(
        ShippedLink(link.name, link.target)
        for link in candidate.links
        if is_safe(link.name) and is_safe(link.target)
    )


def digest_of(path: Path) -> str | None:
    """Return a file's SHA-256, or None when it can't be read."""
    try:
        return sha256_of(path)
    except OSError:
        return None
