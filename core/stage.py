"""Bring what a job needs into its store: code, runtime, data; each under the digest of itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from llmcloud.core.errors import Problem, SpecError
from llmcloud.core.ignore import walk
from llmcloud.runtime import layout
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.task import DataSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmcloud.core.spec.load import LoadedSpec
    from llmcloud.core.spec.models import Data
    from llmcloud.runtime.store import ObjectStore

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Upload:
    """A file of this machine and the key that it gets."""

    path: Path
    key: str
    size_bytes: int


@dataclass(frozen=True)
class DataTree:
    """A local tree as the job will find it: what to upload, and where the nodes find it."""

    uploads: tuple[Upload, ...]
    source: DataSource
    warnings: tuple[str, ...] = ()


def data_trees(loaded: LoadedSpec) -> list[DataTree]:
    """Look at every data source of a job; SpecError for one that is not there."""
    return [_tree(loaded, number, data) for number, data in enumerate(loaded.spec.data)]


def upload(store: ObjectStore, uploads: list[Upload], tell: Callable[[Upload], None]) -> None:
    """Upload what the store does not have yet: a key that names a digest never changes."""
    for each in uploads:
        if not store.exists(each.key):
            tell(each)
            store.put_file(each.key, each.path)


def _tree(loaded: LoadedSpec, number: int, data: Data) -> DataTree:
    scheme = urlsplit(data.source).scheme
    if scheme not in {"", "file"}:
        raise _refused(
            loaded, number, f"this version can't read {scheme}:// yet", "Use a local path"
        )
    if scheme == "file":
        return DataTree((), DataSource(data.source, data.target, data.mode))
    path = (loaded.path.parent / data.source).expanduser().absolute()
    if not path.exists():
        raise _refused(loaded, number, f"there is no {path}", "Paths are relative to the job file")
    if data.mode == "mount":
        return DataTree((), DataSource("file://" + quote(str(path)), data.target, data.mode))
    return _file(path, data) if path.is_file() else _folder(path, data)


def _file(path: Path, data: Data) -> DataTree:
    key = layout.data(_digest(path)) + path.name
    return DataTree(
        (Upload(path, key, path.stat().st_size),), DataSource(key, data.target, data.mode)
    )


def _folder(path: Path, data: Data) -> DataTree:
    entries, warnings, names = [], [], {}
    try:
        for entry in walk(path):
            if entry.problem or entry.is_link:
                warnings.append(
                    f"{path / entry.name} does not travel: {entry.problem or 'a link'}."
                )
                continue
            names[entry.name] = _digest(entry.path)
            entries.append(entry)
    except NotFound:
        warnings.append(f"{path} vanished while it was read.")
    prefix = layout.data(hashlib.sha256(json.dumps(names).encode()).hexdigest())
    uploads = tuple(Upload(e.path, prefix + e.name, e.stat.st_size) for e in entries)
    return DataTree(uploads, DataSource(prefix, data.target, data.mode), tuple(warnings))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(loaded: LoadedSpec, number: int, message: str, hint: str) -> SpecError:
    return SpecError(str(loaded.path), [Problem(f"data.{number}.source", message, hint=hint)])
