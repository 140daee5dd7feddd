"""Bring a job's code and data to the node."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from llmcloud.runtime import layout
from llmcloud.runtime.errors import Failure, InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from llmcloud.runtime.store import ObjectStore
    from llmcloud.runtime.task import DataSource


def fetch_code(store: ObjectStore, digest: str | None, folder: Path) -> None:
    """Unpack the code archive into `folder`, whole or not at all; once is enough."""
    if folder.exists():
        return
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if digest:
        archive = folder.with_name("code.tar.gz")
        if store.get_file(layout.code(digest), archive) != digest:
            raise Unavailable("The code archive is damaged.", where=layout.code(digest))
        with tarfile.open(archive) as tar:
            tar.extractall(fresh, filter="data")  # the filter keeps names inside the folder
        archive.unlink()
    fresh.rename(folder)


def fetch_data(store: ObjectStore, source: DataSource, folder: Path) -> None:
    """Bring one data source to its target below `folder`, whole or not at all."""
    target = folder / source.target
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.mode == "mount":
        target.symlink_to(_local_path(source.source))
        return
    fresh = target.with_name(f".{target.name}.new")
    if fresh.is_dir():
        shutil.rmtree(fresh)
    fresh.unlink(missing_ok=True)
    if urlsplit(source.source).scheme == "file":
        _copy_local(_local_path(source.source), fresh)
    else:
        _copy_objects(store, source.source, fresh)
    fresh.rename(target)


def _copy_local(path: Path, target: Path) -> None:
    try:
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True)
        else:
            shutil.copy2(path, target)
    except OSError as error:
        raise NotFound(
            f"The data can't be read: {error.strerror or error}.", where=str(path)
        ) from error


def _copy_objects(store: ObjectStore, prefix: str, target: Path) -> None:
    """Copy the objects under a prefix; one that is named like the prefix is a single file."""
    if not prefix.endswith("/"):
        store.get_file(prefix, target)
        return
    target.mkdir()
    for entry in store.objects(prefix):
        name = PurePosixPath(entry.key.removeprefix(prefix))
        if name.is_absolute() or ".." in name.parts:
            raise InvalidRequest("An object's name leaves its folder.", where=entry.key)
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(entry.key, path)


def send_outputs(
    store: ObjectStore, job: str, rank: int, code: Path, outputs: tuple[str, ...]
) -> int:
    """Upload what the job left under its outputs; returns how many files that were.

    Links are followed to files below the code folder only.
    """
    sent = 0
    inside = code.resolve()
    for output in outputs:
        root = code / output
        files = [root] if root.is_file() else _files(root)
        for path in files:
            if path.resolve().is_relative_to(inside):
                store.put_file(layout.outputs(job, rank) + path.relative_to(code).as_posix(), path)
                sent += 1
    return sent


def _files(root: Path) -> list[Path]:
    return sorted(
        Path(folder, name)
        for folder, _, names in os.walk(root)
        for name in names
        if Path(folder, name).is_file()
    )


def _local_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise Failure(f"This node can't read {url}.", fix="Use a local path or a file:// URL.")
    return Path(unquote(parts.path))
