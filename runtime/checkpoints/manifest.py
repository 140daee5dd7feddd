"""The COMPLETE manifest: which objects a checkpoint is made of, and what they must hash to."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.runtime import layout
from llmcloud.runtime.errors import Failure, NotFound
from llmcloud.runtime.file_names import is_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmcloud.runtime.store import ObjectStore

FORMAT = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BadManifest(Failure):
    """What is called COMPLETE can't be used."""


@dataclass(frozen=True)
class ShippedFile:
    """One file: `name` as it was in the folder, `key` below the checkpoint's prefix.

    `rank` is set where several nodes had different files of one name: the lowest rank's has the
    name, and the others' are under `node-RANK/`, each for the node it came from.
    """

    name: str
    size: int
    sha256: str
    key: str
    rank: int | None = None


@dataclass(frozen=True)
class ShippedLink:
    """A symlink of the folder; `target` is relative to the folder as well."""

    name: str
    target: str


@dataclass(frozen=True)
class Manifest:
    """One complete checkpoint."""

    step: int
    attempt: int
    created_at: str
    files: tuple[ShippedFile, ...]
    links: tuple[ShippedLink, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Return the sum of its files."""
        return sum(file.size for file in self.files)

    def for_rank(self, rank: int) -> dict[str, ShippedFile]:
        """Return the files that a node gets, by their names there: its own where nodes differ."""
        common = {file.name: file for file in self.files if file.rank is None}
        prefix = node_folder(rank)
        own = {file.name.removeprefix(prefix): file for file in self.files if file.rank == rank}
        return {**common, **own}

    def to_json(self) -> bytes:
        """Return the document as it lies in the store."""
        document = {"format": FORMAT, "size": self.size_bytes, **dataclasses.asdict(self)}
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str = "") -> Manifest:
        """Read the document; BadManifest for anything that a restore must not trust."""
        try:
            found = json.loads(data)
            if found["format"] != FORMAT:
                raise BadManifest(f"It has the unknown format {found['format']}.", where=where)
            manifest = cls(
                _count(found["step"]),
                _count(found["attempt"]),
                str(found["created_at"]),
                tuple(_read_file(each) for each in found["files"]),
                tuple(ShippedLink(str(e["name"]), str(e["target"])) for e in found["links"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadManifest("It is no manifest of a checkpoint.", where=where) from error
        manifest._check_names(where)
        return manifest

    def _check_names(self, where: str) -> None:
        names = [file.name for file in self.files] + [link.name for link in self.links]
        paths = [*names, *(file.key for file in self.files), *(e.target for e in self.links)]
        for path in paths:
            if not is_safe(path):
                raise BadManifest(f"The name {path!r} would leave the folder.", where=where)
        taken = set(names)
        if len(taken) < len(names) or any(
            parent in taken for name in names for parent in _parents(name)
        ):
            raise BadManifest("A name is in it twice.", where=where)
        if not self.files:
            raise BadManifest("It lists no files.", where=where)


def node_folder(rank: int) -> str:
    """Return under which name the manifest keeps a node's files that differ from others'."""
    return f"node-{rank:0{layout.RANK_DIGITS}d}/"


def steps(store: ObjectStore, job: str) -> list[int]:
    """Return the steps that have anything in the store, ascending, complete or not."""
    names = store.folders(layout.checkpoints(job))
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def read(store: ObjectStore, job: str, step: int) -> Manifest:
    """Return a checkpoint's manifest; NotFound without one, BadManifest for a broken one."""
    key = layout.checkpoint_complete(job, step)
    return _parse(store.get(key).data, step, key)


def complete(
    store: ObjectStore, job: str, *, warn: Callable[[str], None] = lambda _: None
) -> Iterator[Manifest]:
    """Yield the manifests that can be read, the newest first."""
    for step in reversed(steps(store, job)):
        try:
            yield read(store, job, step)
        except NotFound:
            continue
        except BadManifest as failure:
            warn(f"Checkpoint {step} is passed over: {failure.what}")


def newest_valid(store: ObjectStore, job: str) -> Manifest | None:
    """Return the newest checkpoint whose objects are all there in their sizes, or None."""
    whole = (each for each in complete(store, job) if missing_from(store, job, each) is None)
    return next(whole, None)


def missing_from(store: ObjectStore, job: str, manifest: Manifest) -> str | None:
    """Say which object of a checkpoint is missing or has another size, or return None."""
    prefix = layout.checkpoint(job, manifest.step)
    sizes = {entry.key: entry.size for entry in store.objects(prefix)}
    for file in manifest.files:
        size = sizes.get(prefix + file.key)
        if size is None:
            return f"{file.name} is missing"
        if size != file.size:
            return f"{file.name} has {size} bytes instead of {file.size}"
    return None


def _parse(data: bytes, step: int, where: str) -> Manifest:
    manifest = Manifest.from_json(data, where)
    if manifest.step != step:
        raise BadManifest(f"It is the manifest of step {manifest.step}.", where=where)
    return manifest


def _read_file(found: dict[str, Any]) -> ShippedFile:
    rank = found["rank"]
    if not _DIGEST.fullmatch(found["sha256"]):
        raise ValueError("no SHA-256")
    return ShippedFile(
        str(found["name"]),
        _count(found["size"]),
        found["sha256"],
        str(found["key"]),
        None if rank is None else _count(rank),
    )


def _count(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise ValueError("no count")
    return found


def _parents(name: str) -> Iterable[str]:
    parts = name.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts)))
