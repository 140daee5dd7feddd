"""Bring a job's code and data to the node."""

from __future__ import annotations

import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from llmcloud.runtime import layout, zstd
from llmcloud.runtime.digests import tree_digest
from llmcloud.runtime.errors import (
    Failure,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from llmcloud.runtime.store import BUCKETS, open_store, split_bucket
from llmcloud.runtime.task import LINK
from llmcloud.runtime.unpack import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmcloud.runtime.objects import Entry, ObjectStore
    from llmcloud.runtime.task import DataSource, Task

FETCHES = 8


def fetch(store: ObjectStore, task: Task, folder: Path, check: Callable[[], None]) -> None:
    """Bring a job's code and, over it, its data into `folder`, whole or not at all; once is enough.

    `check` is called between two sources, and may raise to give up.
    """
    if folder.exists():
        return
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if task.code:
        _unpack(store, task.code, fresh)
    for source in task.data:
        check()
        _bring(store, source, fresh / source.target)
    fresh.rename(folder)


def _unpack(store: ObjectStore, digest: str, folder: Path) -> None:
    key = layout.code(digest)
    archive = folder.with_name("code.tar.zst")
    store.get_file(key, archive)
    try:
        with zstd.reading(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            found = tree_digest(unpack(tar, folder))
    except (tarfile.TarError, zstd.Damaged) as error:
        raise _damaged(key) from error
    if found != digest:
        raise _damaged(key)
    archive.unlink()


def _damaged(key: str) -> Unavailable:
    return Unavailable(
        "The code archive is damaged.", where=key, fix="Remove it from the store; submit again."
    )


def _bring(store: ObjectStore, source: DataSource, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.mode == "mount" or (source.mode == LINK and not os.path.lexists(target)):
            target.symlink_to(_local_path(source.source))
        elif (scheme := urlsplit(source.source).scheme) == "file":
            _copy_local(_local_path(source.source), target)
        elif scheme in BUCKETS:
            _copy_bucket(source.source, target)
        else:
            _copy_objects(store, source.source, target)
    except OSError as error:
        raise InvalidRequest(
            f"The data can't be put in place: {error.strerror or error}.",
            where=f"{source.source} to {source.target}",
            fix="Choose a target that the code does not have, and a source that can be read.",
        ) from error


def _copy_local(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(path, target)


def _copy_objects(store: ObjectStore, source: str, target: Path) -> None:
    """Copy a staged tree, whose prefix ends in `/`, or a staged file; both name their digest."""
    if source.endswith("/"):
        found = tree_digest(_copy_tree(store, source, target))
    else:
        found = store.get_file(source, target)
    if not source.startswith(layout.data(found)):
        raise Unavailable("The staged data is not what was submitted.", where=source)


def _copy_bucket(url: str, target: Path) -> None:
    """Copy all below a prefix, or one object, from a bucket that is not the job's store.

    Where only what begins so may be listed, as on a cloud's own machines, nothing else tells
    whether there is an object: S3 denies what is absent.
    """
    scheme, _, rest = url.partition("://")
    bucket, key = split_bucket(scheme, rest)
    store, key = open_store(f"{scheme}://{bucket}"), key.rstrip("/")
    if next(store.objects(f"{key}/" if key else ""), None):
        _copy_tree(store, f"{key}/" if key else "", target)
        return
    try:
        store.get_file(key, target)
    except (NotFound, PermissionDenied, InvalidRequest) as failure:
        raise NotFound("There is nothing there.", where=url) from failure


def _copy_tree(store: ObjectStore, prefix: str, target: Path) -> dict[str, str]:
    """Copy what lies under a prefix, many at a time, and return its SHA-256 by name."""

    def bring(entry: Entry) -> tuple[str, str] | None:
        name = PurePosixPath(entry.key.removeprefix(prefix))
        if name.is_absolute() or ".." in name.parts:
            raise InvalidRequest("An object's name leaves its folder.", where=entry.key)
        path = target / name
        if not entry.size and _is_folder(store, entry.key):
            path.mkdir(parents=True, exist_ok=True)
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        return name.as_posix(), store.get_file(entry.key, path)

    target.mkdir(exist_ok=True)
    with ThreadPoolExecutor(FETCHES) as pool:
        return dict(filter(None, pool.map(bring, store.objects(prefix))))


def _is_folder(store: ObjectStore, key: str) -> bool:
    """Tell whether an empty object is what consoles make for a folder: its key ends in a slash.

    Which listings leave out, so that none of the key as it is listed is found.
    """
    try:
        store.head(key)
    except (NotFound, PermissionDenied):
        return True
    return False


def send_outputs(store: ObjectStore, prefix: str, code: Path, outputs: Iterable[str]) -> list[str]:
    """Upload what the job left under its outputs; return the names of what can't be uploaded.

    Those are sockets, pipes, and links to anything but a file below the code folder.
    """
    left_out = []
    inside = code.resolve()
    for output in outputs:
        for path in _files(code / output):
            name = path.relative_to(code).as_posix()
            if path.is_file() and path.resolve().is_relative_to(inside):
                store.put_file(prefix + name, path)
            else:
                left_out.append(name)
    return left_out


def _files(root: Path) -> list[Path]:
    if not root.is_dir() or root.is_symlink():
        return [root] if os.path.lexists(root) else []
    return sorted(Path(folder, name) for folder, _, names in os.walk(root) for name in names)


def _local_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise Failure(f"This node can't read {url}.", fix="Use a local path or a file:// URL.")
    return Path(unquote(parts.path))
