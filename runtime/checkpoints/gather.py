"""How several nodes make one checkpoint: the first asks, the others add parts, the first merges.

Node 0 writes `.wanted/ATTEMPT`, which names a step; each other node that has files of it uploads
them below `.nodes/RANK-…/` and then lists them in `.parts/RANK.json`; node 0 writes COMPLETE when
everyone who announced files has done so. A part that comes late is merged in by replacing COMPLETE.
Nobody waits for a node that is gone: a step it had announced and not added to is never COMPLETE.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.runtime import layout, status
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.checkpoints.manifest import Manifest, ShippedFile, ShippedLink
from llmcloud.runtime.checkpoints.upload import Standing, write_complete
from llmcloud.runtime.documents import known, reading
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from llmcloud.runtime.store import Entry, ObjectStore

IN_PLACE = -1  # announced for files that are overwritten in place: their step is node 0's to say
SETTLE_S = 12.0  # two heartbeats and a bit, so that no announcement is missed


@dataclass(frozen=True)
class Request:
    """What node 0 asks the others for."""

    step: int
    in_place: bool


@dataclass(frozen=True)
class Part:
    """What one node adds."""

    rank: int
    attempt: int
    files: tuple[ShippedFile, ...]


@dataclass
class Gathering:
    """Node 0's side: the one checkpoint that is being put together."""

    store: ObjectStore
    job: str
    attempt: int
    nodes: int
    clock: Callable[[], float]
    request: Request | None = None
    since: float = 0.0
    _own: tuple[ShippedFile, ...] | None = None
    _links: tuple[ShippedLink, ...] = ()
    lacking: set[int] = dataclasses.field(default_factory=set)  # gone, and their files with them
    _required: set[int] = dataclasses.field(default_factory=set)
    _savers: set[int] = dataclasses.field(default_factory=set)  # who has had files, of any step
    _merged: tuple[object, ...] | None = None
    _read: dict[Entry, Part] = dataclasses.field(default_factory=dict)

    @property
    def is_waiting(self) -> bool:
        """Tell whether a checkpoint is asked for that is not COMPLETE and still may be."""
        return self.request is not None and self._merged is None and not self.lacking

    def ask(self, step: int, *, in_place: bool) -> None:
        """Ask the other nodes for their files of a step."""
        self.request = Request(step, in_place)
        self.since, self._own, self._merged = self.clock(), None, None
        self._required, self.lacking = set(), set()
        document = json.dumps(dataclasses.asdict(self.request)).encode()
        self.store.put(layout.checkpoint_wanted(self.job, self.attempt), document)

    def add_own(self, files: tuple[ShippedFile, ...], links: tuple[ShippedLink, ...]) -> None:
        """Add node 0's own files; none, when only others have some."""
        self._own, self._links, self.since = files, links, self.clock()

    def merge(
        self, announced: Callable[[], dict[int, list[int]]], gone: Callable[[], set[int]]
    ) -> Manifest | None:
        """Write COMPLETE when all parts are there (again, when there are more), and return it."""
        if self.request is None or self._own is None:
            return None
        left = gone()  # asked first: what these have announced and added is all there by now
        said = announced()
        parts = self._parts(self.request.step)
        self._require(said, parts, left)
        found = (self._own, tuple(sorted(parts.items())))
        missing = self._required - parts.keys()
        self.lacking = missing & left if self._merged is None else set()
        if missing or found == self._merged:
            return None
        if self.clock() - self.since < SETTLE_S and not self._all_have_spoken(parts.keys() | left):
            return None
        files = merge({0: self._own, **{rank: part.files for rank, part in parts.items()}})
        step = self.request.step
        manifest = Manifest(step, self.attempt, status.now(), files, self._links)
        if files:
            write_complete(self.store, self.job, manifest, Standing.of(self.store, self.job, step))
        self._merged = found
        return manifest if files else None

    def _require(self, said: dict[int, list[int]], parts: Collection[int], left: set[int]) -> None:
        """Note who must add files: all that announced some, and those that were cut off.

        A node that dies right after writing a file never announces it: one that has had files
        before is taken to have had some of this step too.
        """
        assert self.request is not None  # noqa: S101  `merge` has looked
        sign = IN_PLACE if self.request.in_place else self.request.step
        self._savers.update(parts, (rank for rank, steps in said.items() if rank and steps))
        self._required |= {rank for rank in self._savers if sign in said.get(rank, ())}
        cut_off = (left & self._savers) - set(parts)
        self._required |= {rank for rank in cut_off if not self._is_done(rank)}

    def _all_have_spoken(self, known: Collection[int]) -> bool:
        """Tell whether every node has added files, is gone, or said that it won't any more."""
        return all(rank in known or self._is_done(rank) for rank in range(1, self.nodes))

    def _is_done(self, rank: int) -> bool:
        return self.store.exists(layout.checkpoints_done(self.job, self.attempt, rank))

    def _parts(self, step: int) -> dict[int, Part]:
        """Read the parts of this attempt; one that is unchanged is read once."""
        found = {}
        for entry in self.store.objects(layout.checkpoint_parts(self.job, step)):
            if entry.key.endswith(".json"):
                if entry not in self._read:
                    self._read[entry] = _read_part(self.store.get(entry.key).data, entry.key)
                part = self._read[entry]
                if part.attempt == self.attempt:
                    found[part.rank] = part
        return found


def merge(parts: dict[int, tuple[ShippedFile, ...]]) -> tuple[ShippedFile, ...]:
    """Put the nodes' files together: equal ones once, of differing ones the lowest rank's first."""
    merged: dict[str, ShippedFile] = {}
    for rank, files in sorted(parts.items()):
        for file in files:
            same = merged.get(file.name)
            if same is None:
                merged[file.name] = file
            elif same.sha256 != file.sha256:
                name = manifests.node_folder(rank) + file.name
                merged[name] = dataclasses.replace(file, name=name, rank=rank)
    return tuple(sorted(merged.values(), key=lambda file: file.name))


def requested(store: ObjectStore, job: str, attempt: int) -> Request | None:
    """Return what node 0 of this attempt asked for last, or None."""
    key = layout.checkpoint_wanted(job, attempt)
    try:
        data = store.get(key).data
    except NotFound:
        return None
    with reading("A request for a checkpoint", key):
        return Request(**known(Request, json.loads(data)))


def part_folder(rank: int) -> str:
    """Return a folder, below a checkpoint's prefix, that no earlier upload used."""
    return f".nodes/{rank:0{layout.RANK_DIGITS}d}-{uuid.uuid4().hex[:8]}/"


def write_part(store: ObjectStore, job: str, step: int, part: Part) -> None:
    """Say which files a node adds to a checkpoint."""
    key = layout.checkpoint_part(job, step, part.rank)
    store.put(key, json.dumps(dataclasses.asdict(part)).encode())


def _read_part(data: bytes, key: str) -> Part:
    with reading("A part of a checkpoint", key):
        found = json.loads(data)
        files = tuple(ShippedFile(**known(ShippedFile, each)) for each in found["files"])
        return Part(found["rank"], found["attempt"], files)
