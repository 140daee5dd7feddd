"""How several nodes make one checkpoint: the first asks, the others add parts, the first merges.

Node 0 writes `.parts/wanted` under a step; each other node that has files of it uploads them below
`.parts/RANK-…/` and then lists them in `.parts/RANK.json`; node 0 writes COMPLETE when everyone
who announced files has done so. A part that comes late is merged in by replacing COMPLETE.
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
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmcloud.runtime.store import ObjectStore

IN_PLACE = -1  # announced for files that are overwritten in place: their step is node 0's to say
SETTLE_S = 5.0  # longer than a heartbeat, so that an announcement isn't missed


@dataclass(frozen=True)
class Request:
    """What node 0 asks the others for."""

    attempt: int
    step: int
    in_place: bool


@dataclass(frozen=True)
class Part:
    """What one node adds."""

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
    _required: set[int] = dataclasses.field(default_factory=set)
    _merged: tuple[object, ...] | None = None

    @property
    def is_waiting(self) -> bool:
        """Tell whether a checkpoint is asked for that is not COMPLETE."""
        return self.request is not None and self._merged is None

    def ask(self, step: int, *, in_place: bool) -> None:
        """Ask the other nodes for their files of a step."""
        self.request = Request(self.attempt, step, in_place)
        self.since, self._own, self._merged, self._required = self.clock(), None, None, set()
        document = json.dumps(dataclasses.asdict(self.request)).encode()
        self.store.put(layout.checkpoint_wanted(self.job, step), document)

    def add_own(self, files: tuple[ShippedFile, ...], links: tuple[ShippedLink, ...]) -> None:
        """Add node 0's own files; none, when only others have some."""
        self._own, self._links, self.since = files, links, self.clock()

    def merge(self, announced: dict[int, list[int]]) -> Manifest | None:
        """Write COMPLETE when all parts are there (again, when there are more), and return it."""
        if self.request is None or self._own is None:
            return None
        sign = IN_PLACE if self.request.in_place else self.request.step
        self._required |= {rank for rank, steps in announced.items() if rank and sign in steps}
        parts = self._parts()
        settled = len(parts) == self.nodes - 1 or self.clock() - self.since >= SETTLE_S
        found = (self._own, tuple(sorted(parts.items())))
        if not self._required <= parts.keys() or not settled or found == self._merged:
            return None
        files = merge({0: self._own, **{rank: part.files for rank, part in parts.items()}})
        step = self.request.step
        manifest = Manifest(step, self.attempt, status.now(), files, self._links)
        if files:
            write_complete(self.store, self.job, manifest, Standing.of(self.store, self.job, step))
        self._merged = found
        return manifest if files else None

    def _parts(self) -> dict[int, Part]:
        found = {}
        step = self.request.step if self.request else 0
        for rank in range(1, self.nodes):
            try:
                blob = self.store.get(layout.checkpoint_part(self.job, step, rank))
            except NotFound:
                continue
            part = _read_part(blob.data)
            if part.attempt == self.attempt:
                found[rank] = part
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
    for step in reversed(manifests.steps(store, job)):
        try:
            found = Request(**json.loads(store.get(layout.checkpoint_wanted(job, step)).data))
        except NotFound:
            continue
        if found.attempt == attempt:
            return found
    return None


def part_folder(rank: int) -> str:
    """Return a folder, below a checkpoint's prefix, that no earlier upload used."""
    return f".parts/{rank:0{layout.RANK_DIGITS}d}-{uuid.uuid4().hex[:8]}/"


def write_part(
    store: ObjectStore, job: str, step: int, rank: int, part: tuple[int, Iterable[ShippedFile]]
) -> None:
    """Say which files a node adds to a checkpoint; `part` is the attempt and the files."""
    document = dataclasses.asdict(Part(part[0], tuple(part[1])))
    store.put(layout.checkpoint_part(job, step, rank), json.dumps(document).encode())


def _read_part(data: bytes) -> Part:
    found = json.loads(data)
    return Part(found["attempt"], tuple(ShippedFile(**each) for each in found["files"]))
