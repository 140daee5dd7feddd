"""Where data lies: from what a person types to a source or a target of a transfer."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, unquote_to_bytes

from llmcloud.core.errors import UsageError
from llmcloud.core.selection import selected_files, selected_objects
from llmcloud.core.stores import open_bucket
from llmcloud.core.transfer.folder import FolderSource, FolderTarget
from llmcloud.core.transfer.store import StoreSource, StoreTarget
from llmcloud.runtime.errors import InvalidRequest, NotFound
from llmcloud.runtime.objects import PRIVATE, check_key, check_prefix
from llmcloud.runtime.store import FileStore, split_bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.core.transfer.sides import Source, Target
    from llmcloud.runtime.bucket import BucketStore
    from llmcloud.runtime.store import ObjectStore

NAMED = "data/"
URL_BEGINS = re.compile("[a-z0-9]+:/", re.IGNORECASE)
STAGED = re.compile("[0-9a-f]{64}")  # the folder of what a submit brought, below NAMED


@dataclass(frozen=True)
class Place:
    """What was pushed under a name of a store; `url` is what a job file's data source says."""

    name: str
    objects: int
    size_bytes: int
    url: str


def places(store: ObjectStore) -> list[Place]:
    """Return the places of a store that have names, and not what submits brought there."""
    if not store.is_there():
        return []
    named = [name for name in store.folders(NAMED) if not STAGED.fullmatch(name)]
    return [_place(store, name) for name in named]


def source(text: str, exclude: Sequence[str] = (), default: ObjectStore | None = None) -> Source:
    """Return what a person means to read: a URL, or a path; with `default` a name in that store.

    A URL or path may be a file, a folder or a pattern with `*`, `?`, `[…]` and `**`.
    """
    place = _parse(text, default)
    if isinstance(place, Path):
        if default and "://" not in text and not glob.has_magic(text) and not place.exists():
            raise NotFound(
                f"Nothing is called {text}.", where=default.url, fix="llmcloud data list"
            )
        return selected_files(place, exclude)
    store, key = place
    return selected_objects(store, key, exclude)


def target(text: str, default: ObjectStore | None = None) -> Target:
    """Return where a person means to write: below a URL or a path, or a name in `default`."""
    found = _target(text, default)
    if isinstance(found, FolderTarget):
        check_folder(Path(found.root))
    return found


def url(text: str, default: ObjectStore) -> str:
    """Return the URL of a place, be it a folder or not; UsageError for what is a store's own."""
    return _target(text, default).url


def _target(text: str, default: ObjectStore | None) -> Target:
    place = _parse(text, default)
    if isinstance(place, Path):
        return _folder_target(place)
    store, key = place
    return StoreTarget(store, f"{key.rstrip('/')}/" if key.rstrip("/") else "")


def remove(found: Source, names: Sequence[str]) -> None:
    """Remove items of a source by their names; from a store as its objects."""
    if isinstance(found, StoreSource):
        found.remove(names)
        return
    assert isinstance(found, FolderSource)  # noqa: S101 - `source` returns one of the two
    root = Path(found.root).absolute()
    if store := _store_around(root):
        store.delete_all([(root / name).relative_to(store.root).as_posix() for name in names])
    else:
        FolderTarget(root).remove(names)


def _parse(text: str, default: ObjectStore | None) -> Path | tuple[BucketStore, str]:
    if not text:  # Path would take it for the folder one is in
        raise UsageError("An empty text names no place.", fix="Write . for the folder you are in.")
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        return Path(text) if default is None else _named(text, default)
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in {"", "localhost"} or not slash or "%00" in path or "\0" in path:
            raise UsageError(f"{text} names no file.", fix="Write file:///absolute/path.")
        return Path(os.fsdecode(unquote_to_bytes(f"/{path}")))
    try:
        bucket, key = split_bucket(scheme, rest)
        check_prefix(key.rstrip("/"))
        return open_bucket(scheme, bucket), key
    except InvalidRequest as failure:
        raise UsageError(failure.what, where=text, fix=failure.fix) from failure


def _named(text: str, store: ObjectStore) -> Path | tuple[BucketStore, str]:
    name = text.strip("/")
    if not name or text.startswith((".", "/")):
        raise UsageError(
            f"{text!r} is no place in a store.",
            fix="Give a name (corpus), or a URL: file://, s3://, gs://, az://.",
        )
    if URL_BEGINS.match(name):
        raise UsageError(f"{text!r} is no URL yet.", fix="A URL has two slashes: s3://, file:///.")
    try:
        check_key(NAMED + name)
    except InvalidRequest as failure:
        raise UsageError(failure.what) from failure
    if isinstance(store, FileStore):
        return store.root / NAMED / name
    return cast("BucketStore", store), NAMED + name


def _folder_target(path: Path) -> FolderTarget:
    """Return a folder; what grows in one of a store lies where the store keeps such."""
    url = "file://" + quote(os.fsencode(path.absolute()))
    store = _store_around(path.absolute())
    if store is None:
        return FolderTarget(path, None, url)
    if path.absolute().relative_to(store.root).parts[0] == PRIVATE:
        raise UsageError(f"{path} belongs to a store alone.", fix="Choose another folder.")
    return FolderTarget(path, store.scratch, url)


def check_folder(path: Path) -> None:
    """Raise UsageError when a folder can't be, as something else is in the way."""
    there = next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        raise UsageError(f"{there} is no folder.", fix="Choose another folder to write to.")


def _store_around(path: Path) -> FileStore | None:
    """Return the store that a folder lies in."""
    return next((FileStore(each) for each in path.parents if FileStore(each).is_there()), None)


def _place(store: ObjectStore, name: str) -> Place:
    sizes = [entry.size for entry in store.objects(f"{NAMED}{name}/")]
    return Place(name, len(sizes), sum(sizes), f"{store.url}/{quote(NAMED + name)}")
