"""Bring what a job needs into its store: code, runtime, data; each under the digest of itself."""

from __future__ import annotations

import functools
import glob
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit

from llmcloud.core.digests import digests
from llmcloud.core.errors import Problem, SpecError
from llmcloud.core.ignore import WalkEntry, walk
from llmcloud.core.transfer import stream
from llmcloud.core.transfer.errors import Changed, Damaged, PartlyFailed, changed
from llmcloud.core.transfer.folder import FolderSource, FolderTarget
from llmcloud.core.transfer.mover import Mover
from llmcloud.core.transfer.sides import Item
from llmcloud.core.transfer.store import StoreTarget
from llmcloud.runtime import layout
from llmcloud.runtime.digests import tree_digest
from llmcloud.runtime.errors import Conflict, InvalidRequest, NotFound, StoreGone
from llmcloud.runtime.store import BUCKETS, FileStore
from llmcloud.runtime.task import DataSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llmcloud.core.package import Archive
    from llmcloud.core.spec.load import LoadedSpec
    from llmcloud.core.spec.models import Data
    from llmcloud.core.transfer.meter import Meter
    from llmcloud.core.transfer.sides import Reader, Target
    from llmcloud.runtime.bucket import BucketStore
    from llmcloud.runtime.store import ObjectStore


MANAGED = "managed"  # the services that mount buckets by themselves


@dataclass(frozen=True)
class DataTree:
    """A data source as the job will find it, and what of it lies on this machine.

    The items are below `root`, and have their CRC-32C in `crc32c` by their names; `name` is for
    people.
    """

    source: DataSource
    name: str = ""
    root: Path = Path()
    items: tuple[Item, ...] = ()
    crc32c: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """Return where it lies in the store; its digest is part of that."""
        return self.source.source.rpartition("/")[0] + "/"


@dataclass(frozen=True)
class Load:
    """Something that the store lacks; `send` brings it there."""

    name: str
    files: int
    size_bytes: int
    send: Callable[[Meter], None]


def data_trees(loaded: LoadedSpec) -> list[DataTree]:
    """Look at every data source of a job; SpecError for one that is not there."""
    return [_tree(loaded, number, data) for number, data in enumerate(loaded.spec.data)]


def code(store: ObjectStore, archive: Archive) -> list[Load]:
    """Return what the store lacks of a job's code."""
    key = layout.code(archive.digest)
    if store.exists(key):
        return []

    def send(meter: Meter) -> None:
        meter.plan(archive.size_bytes)
        told = iter([meter.add])  # once, also where it is packed twice
        stream.send(
            store,
            key,
            lambda: archive.packed(next(told, lambda _: None)),
            archive.packed_bytes_max,
        )
        meter.add(0, 1)

    return [Load("code", len(archive.members), archive.size_bytes, send)]


def runtime(store: ObjectStore, path: Path, digest: str) -> list[Load]:
    """Return what the store lacks of the node's runtime."""
    key = layout.runtime(digest)
    if store.exists(key):
        return []
    size = path.stat().st_size

    def send(meter: Meter) -> None:
        meter.plan(size)
        store.put_file(key, path)
        meter.add(size, 1)

    return [Load("runtime", 1, size, send)]


def data(store: ObjectStore, tree: DataTree) -> list[Load]:
    """Return what the store lacks of a data source: a key that names a digest never changes."""
    if not tree.items:
        return []
    target = _target(store, tree.prefix)
    both = target.beside(iter(tree.items), extras=False)
    lacking = [item for item, there in both if item and (not there or there.size != item.size)]
    if not lacking:
        return []
    size = sum(item.size for item in lacking)
    send = functools.partial(_send, tree, target, lacking)
    return [Load(tree.name, len(lacking), size, send)]


def _target(store: ObjectStore, prefix: str) -> Target:
    if isinstance(store, FileStore):
        return FolderTarget(store.root / prefix, store.scratch)
    return StoreTarget(cast("BucketStore", store), prefix)


def _send(tree: DataTree, target: Target, items: Iterable[Item], meter: Meter) -> None:
    mover = Mover(_Hashed(tree), target, meter)
    with mover.running():
        for item in items:
            if problem := target.refuse(item):
                mover.note(item.name, InvalidRequest(problem))
            else:
                mover.add(item)
    # Of other bytes than were sent, and there: it would stand for what it is not.
    target.remove([name for name, why in mover.failed.items() if isinstance(why, Conflict)])
    for name, failure in mover.failed.items():
        if isinstance(failure, (Changed, Damaged)):
            raise changed(tree.root / name) from failure
    if mover.failed:
        raise PartlyFailed(mover.failed, meter.files_done, str(tree.root))


class _Hashed(FolderSource):
    """Files whose digests are known: what is read is checked against them."""

    def __init__(self, tree: DataTree) -> None:
        super().__init__(tree.root, lambda: iter(tree.items))
        self._crc32c = tree.crc32c

    def open(self, item: Item) -> Reader:
        reader = super().open(item)
        reader.crc32c = self._crc32c[item.name]
        return reader


def _tree(loaded: LoadedSpec, number: int, data: Data) -> DataTree:
    scheme = urlsplit(data.source).scheme
    if scheme in BUCKETS:
        return _bucket(loaded, number, data)
    if scheme == "file":
        return DataTree(DataSource(data.source, data.target, data.mode))
    path = loaded.beside(data.source).absolute()
    if not path.exists():
        hint = (
            "Paths are relative to the job file; pushed data is named by its URL, "
            "which `llmcloud data list` shows"
        )
        raise _refused(loaded, number, f"there is no {path}", hint)
    if data.mode == "mount" and loaded.spec.service != MANAGED:
        return DataTree(DataSource("file://" + quote(str(path)), data.target, data.mode))
    return _file(path, data) if path.is_file() else _folder(loaded, number, path)


def _bucket(loaded: LoadedSpec, number: int, data: Data) -> DataTree:
    """Leave it where it is: the nodes fetch it. Whether it is there is known best now."""
    from llmcloud.core import location

    if data.mode == "mount" and loaded.spec.service != MANAGED:
        hint = "Use mode: copy, or mount the bucket yourself and name that folder"
        raise _refused(loaded, number, "a bucket can't be mounted on this machine", hint)
    if glob.has_magic(data.source):
        hint = "Name an object, or the folder of all that the job needs"
        raise _refused(loaded, number, "a job fetches no patterns from a bucket", hint)
    try:
        next(location.source(data.source).items())
    except (NotFound, StoreGone) as failure:
        hint = "`llmcloud data list` shows what is there"
        said = f"{data.source}: {failure.what.rstrip('.')}"
        raise _refused(loaded, number, said, hint) from failure
    return DataTree(DataSource(data.source, data.target, data.mode))


def _file(path: Path, data: Data) -> DataTree:
    entry = WalkEntry(str(path), path.name, path.stat())
    items, crcs = _hashed([entry])
    key = layout.data(items[0].sha256) + path.name
    source = DataSource(key, data.target, data.mode)
    return DataTree(source, path.name, path.parent, items, crcs)


def _folder(loaded: LoadedSpec, number: int, path: Path) -> DataTree:
    data = loaded.spec.data[number]
    entries, warnings = [], []
    for entry in walk(path):
        if entry.is_unreadable:
            said = f"{path / entry.name} can't be read"
            raise _refused(loaded, number, said, "chmod u+r it, or name it in .llmcloudignore")
        if entry.problem or entry.is_link:
            said = entry.problem or "it is a link"
            warnings.append(f"{path / entry.name} does not travel: {said}.")
        else:
            entries.append(entry)
    items, crcs = _hashed(entries)
    prefix = layout.data(tree_digest({item.name: item.sha256 for item in items}))
    source = DataSource(prefix, data.target, data.mode)
    return DataTree(source, path.name, path, items, crcs, tuple(warnings))


def _hashed(entries: list[WalkEntry]) -> tuple[tuple[Item, ...], dict[str, int]]:
    """Return files as items with their SHA-256, and their CRC-32C by their names."""
    found = digests(entries)
    items = tuple(
        Item(
            entry.name,
            entry.stat.st_size,
            entry.stat.st_mtime,
            entry.stat.st_ctime,
            sha256=found[entry.name].sha256,
        )
        for entry in entries
    )
    return items, {name: each.crc32c for name, each in found.items()}


def _refused(loaded: LoadedSpec, number: int, message: str, hint: str) -> SpecError:
    return loaded.refused(Problem(f"data.{number}.source", message, hint=hint))
