"""What a path or a key selects: one file or object, a whole folder, or what matches a pattern."""

from __future__ import annotations

import contextlib
import functools
import glob
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core.errors import UsageError
from llmcloud.core.ignore import Patterns, ignoring, walk
from llmcloud.core.transfer.folder import FolderSource
from llmcloud.core.transfer.sides import Item
from llmcloud.core.transfer.store import StoreSource
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from llmcloud.core.transfer.sides import Source
    from llmcloud.runtime.objects import ObjectStore


def selected_files(path: Path, exclude: Sequence[str]) -> FolderSource:
    """Return a file, what is in a folder, or what a pattern names; NotFound without any."""
    if path.is_file():
        return FolderSource(
            path.parent,
            lambda: iter([_item(path.name, path.stat())]),
            lambda name: name != path.name,
        )
    if path.is_dir():
        find = functools.partial(_in_folder, path, exclude)
        return FolderSource(path, find, ignoring(path, exclude))
    if path.exists():
        raise UsageError(f"{path} is neither a file nor a folder.")
    if not glob.has_magic(str(path)):
        raise NotFound(f"There is no file or folder {path}.")
    base = _base(path.parts)
    chosen = _chosen(path.parts[base:])
    root = Path(*path.parts[:base])
    excluded = ignoring(root, exclude)

    def matching() -> Iterator[Item]:
        found = False
        for item in _in_folder(root, exclude):
            if chosen(item.name):
                found = True
                yield item
        if not found:
            raise NotFound(f"Nothing matches {path}.")

    return FolderSource(root, matching, lambda name: excluded(name) or not chosen(name))


def _in_folder(folder: Path, exclude: Sequence[str]) -> Iterator[Item]:
    for entry in walk(folder, exclude):
        if entry.problem:
            yield Item(entry.name, 0, 0.0, problem=entry.problem)
        elif entry.is_link:
            found = entry.path.stat()
            if stat.S_ISREG(found.st_mode):
                yield _item(entry.name, found)
            else:
                yield Item(entry.name, 0, 0.0, problem="it is a link to a folder")
        else:
            yield _item(entry.name, entry.stat)


def selected_objects(store: ObjectStore, key: str, exclude: Sequence[str]) -> Source:
    """Return an object, what is below a prefix, or what a pattern names."""
    folder = key.rstrip("/")
    if glob.has_magic(folder):
        parts = tuple(folder.split("/"))
        base = _base(parts)
        prefix = "/".join(parts[:base])
        found = StoreSource(store, f"{prefix}/" if prefix else "")
        return _Filtered(found, _chosen(parts[base:]), exclude)
    if folder and not key.endswith("/"):
        with contextlib.suppress(NotFound):
            return _single(store, folder)
    return _Filtered(StoreSource(store, f"{folder}/" if folder else ""), lambda _: True, exclude)


def _single(store: ObjectStore, key: str) -> _Single:
    entry = store.head(key)
    prefix, slash, name = key.rpartition("/")
    item = Item(name, entry.size, entry.modified_at, 0.0, entry.version)
    return _Single(store, prefix + slash, item)


class _Single(StoreSource):
    def __init__(self, store: ObjectStore, prefix: str, item: Item) -> None:
        super().__init__(store, prefix)
        self._item = item

    def hides(self, name: str) -> bool:
        return name != self._item.name

    def items(self) -> Iterator[Item]:
        yield self._item

    def remove(self, names: Sequence[str]) -> None:
        self.store.delete_all([self.prefix + name for name in names])


class _Filtered(StoreSource):
    """Objects under a prefix, but for those that are not chosen."""

    def __init__(
        self, found: StoreSource, chosen: Callable[[str], bool], exclude: Sequence[str]
    ) -> None:
        super().__init__(found.store, found.prefix)
        self._chosen, self._excluded = chosen, Patterns(exclude)

    def hides(self, name: str) -> bool:
        return self._excluded.match(name) or not self._chosen(name)

    def items(self) -> Iterator[Item]:
        found = False
        for item in super().items():
            if self._chosen(item.name) and not self._excluded.match(item.name):
                found = True
                yield item
        if not found and not self._has_markers():
            raise NotFound("There is nothing here.", where=self.url)

    def _has_markers(self) -> bool:
        """Tell whether a console has made an empty folder here: `folder/`, which is no item."""
        listed = self.store.objects(self.prefix)
        return any(not self.hides(entry.key[len(self.prefix) :]) for entry in listed)


def _base(parts: Sequence[str]) -> int:
    """Return how many parts of a path come before its first wildcard."""
    return next(number for number, part in enumerate(parts) if glob.has_magic(part))


def _chosen(parts: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells whether a pattern names a file or a folder above it."""
    return Patterns(["/" + "/".join(parts)]).match


def _item(name: str, found: os.stat_result) -> Item:
    return Item(name, found.st_size, found.st_mtime, found.st_ctime)
