"""Bring what a job needs into its store: code, runtime, data; each under the digest of itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from llmcloud.core.errors import Problem, SpecError
from llmcloud.core.ignore import walk
from llmcloud.runtime import layout
from llmcloud.runtime.errors import Failure
from llmcloud.runtime.fetch import tree_digest
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
    """A file of this machine, the key that it gets, and the SHA-256 that it had when looked at."""

    path: Path
    key: str
    size_bytes: int
    sha256: str


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
        if store.exists(each.key):
            continue
        tell(each)
        if store.put_file(each.key, each.path) != each.sha256:
            store.delete(each.key)  # or it would stand for what it is not
            raise Failure(
                "A file changed while it was uploaded.", where=str(each.path), fix="Submit again."
            )


def _tree(loaded: LoadedSpec, number: int, data: Data) -> DataTree:
    scheme = urlsplit(data.source).scheme
    if scheme not in {"", "file"}:
        raise _refused(
            loaded, number, f"this version can't read {scheme}:// yet", "Use a local path"
        )
    if scheme == "file":
        return DataTree((), DataSource(data.source, data.target, data.mode))
    path = loaded.beside(data.source).absolute()
    if not path.exists():
        hint = (
            "Paths are relative to the job file; pushed data is named by its URL, "
            "which `llmcloud data list` shows"
        )
        raise _refused(loaded, number, f"there is no {path}", hint)
    if data.mode == "mount":
        return DataTree((), DataSource("file://" + quote(str(path)), data.target, data.mode))
    return _file(path, data) if path.is_file() else _folder(loaded, number, path)


def _file(path: Path, data: Data) -> DataTree:
    sha256 = _digest(path)
    key = layout.data(sha256) + path.name
    upload = Upload(path, key, path.stat().st_size, sha256)
    return DataTree((upload,), DataSource(key, data.target, data.mode))


def _folder(loaded: LoadedSpec, number: int, path: Path) -> DataTree:
    data = loaded.spec.data[number]
    entries, warnings, digests = [], [], {}
    for entry in walk(path):
        if entry.is_unreadable:
            said = f"{path / entry.name} can't be read"
            raise _refused(loaded, number, said, "chmod u+r it, or name it in .llmcloudignore")
        if entry.problem or entry.is_link:
            said = entry.problem or "it is a link"
            warnings.append(f"{path / entry.name} does not travel: {said}.")
            continue
        digests[entry.name] = _digest(entry.path)
        entries.append(entry)
    prefix = layout.data(tree_digest(digests))
    uploads = tuple(
        Upload(e.path, prefix + e.name, e.stat.st_size, digests[e.name]) for e in entries
    )
    return DataTree(uploads, DataSource(prefix, data.target, data.mode), tuple(warnings))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(loaded: LoadedSpec, number: int, message: str, hint: str) -> SpecError:
    return loaded.refused(Problem(f"data.{number}.source", message, hint=hint))
