"""Watches the checkpoint folder and brings each new, whole checkpoint to the store.

A COMPLETE checkpoint is never written over. When a step that is complete is written again with
other bytes, its new files go beside the old ones, COMPLETE is replaced in one conditional write,
and only then do the old files go: at every moment the step is either the old or the new one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmcloud.runtime import layout, status
from llmcloud.runtime.checkpoints import aside, upload
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.checkpoints.choice import Choice
from llmcloud.runtime.checkpoints.follower import Follower
from llmcloud.runtime.checkpoints.found import scan
from llmcloud.runtime.checkpoints.gather import IN_PLACE, Gathering
from llmcloud.runtime.checkpoints.manifest import Manifest
from llmcloud.runtime.checkpoints.prune import drop_unused, prune, remove
from llmcloud.runtime.checkpoints.restore import set_torn_aside, was_cut_off
from llmcloud.runtime.checkpoints.tracker import Sighting, Tracker
from llmcloud.runtime.checkpoints.upload import Standing
from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmcloud.runtime.checkpoints.found import Candidate
    from llmcloud.runtime.checkpoints.manifest import ShippedFile
    from llmcloud.runtime.store import ObjectStore

RETRY_S = 15.0
PATIENCE_S = 60.0
FLUSH_TRIES = 3
FLUSH_WAIT_S = 0.2


class _Halted(Exception):
    """`stop` was called, or the deadline has passed."""


def _nothing(*_: object) -> None:
    return None


@dataclass
class Shipper:
    """Ships the checkpoints of one node; `poll` and `flush` may be called by one thread at a time.

    `interval_s` is the least time between two checkpoints that are shipped: the newest wins.
    `current_step` tells how far the training is, for files that are overwritten in place;
    `peers_announced` what the other nodes have `announced`, `peers_gone` which of them will add
    nothing more: they ended or were lost. Rank 0 writes COMPLETE.
    """

    store: ObjectStore
    job: str
    directory: Path
    rank: int = 0
    nodes: int = 1
    attempt: int = 1
    interval_s: float = 60.0
    keep: int = 3
    quiet_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    current_step: Callable[[], int | None] = _nothing
    peers_announced: Callable[[], dict[int, list[int]]] = dict
    peers_gone: Callable[[], set[int]] = set
    warn: Callable[[str], None] = _nothing
    set_aside: Path | None = None
    _not_before: float = field(default=float("-inf"), init=False)
    _deadline: float = field(default=float("inf"), init=False)
    _warned: set[str] = field(default_factory=set, init=False)
    _has_looked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._tracker = Tracker(self.quiet_s, self.clock, self.current_step)
        self._choice = Choice(self.rank, self.warn)
        self._stop = threading.Event()
        self._gathering = Gathering(self.store, self.job, self.attempt, self.nodes, self.clock)
        self._follower = Follower(
            self.store, self.job, self.rank, self.attempt, self._choice, self._check
        )

    def poll(self) -> list[int]:
        """Look once, ship what is due, and return the steps that are newly COMPLETE.

        Raises Failure when the store can't take it; a later poll tries again.
        """
        try:
            self._look()
            return self._advance(self._tracker.quiet())
        except _Halted:
            return []

    def flush(self, deadline_s: float) -> list[int]:
        """Ship the newest valid checkpoint now, quiet or not, within `deadline_s`; at the end.

        With several nodes, also waits until all that are there have added their files. Undoes
        `stop`.
        """
        self._stop.clear()
        self._deadline = self.clock() + deadline_s
        done: list[int] = []
        try:
            for _ in range(FLUSH_TRIES):
                done += self._advance_now()
                if self._choice.newest(self._tracker.all()) is None:
                    break
            if self.rank:
                self._follower.say_done()
            side = self._follower if self.rank else self._gathering
            while side.is_waiting and not (self.rank and 0 in self.peers_gone()):
                self._check()
                self.sleep(FLUSH_WAIT_S)
                done += self._advance_now()
        except _Halted:
            self.warn("The time was too short to ship the newest checkpoint.")
        finally:
            self._deadline = float("inf")
        return done

    def stop(self) -> None:
        """Make a running `poll` return between two files; from any thread."""
        self._stop.set()

    def announced(self) -> list[int]:
        """Return the steps that are new in the folder, finished or not; for the heartbeat."""
        if not self._has_looked:
            return []
        return sorted(
            IN_PLACE if each.step is None else each.step
            for each in scan(self.directory).candidates
            if self._choice.is_new(each)
        )

    def ship_leftovers(self) -> int | None:
        """Ship what an earlier attempt left here, if it is whole and newer than the store's newest.

        For a job of one node, before `restore`. Torn ones are set aside. Returns the step shipped.
        """
        if was_cut_off(self.directory):
            return None
        where = self.set_aside or aside.default_folder(self.directory)
        set_torn_aside(self.directory, where, self.warn)
        newest = manifests.newest_valid(self.store, self.job)
        self._look()
        shipped = self._advance([e for e in self._tracker.all() if _is_newer(e, newest)])
        self._not_before = float("-inf")
        self._has_looked = False  # the restore that follows changes what is here
        return shipped[0] if shipped else None

    def _look(self) -> None:
        scanned = scan(self.directory)
        for warning in scanned.warnings:
            self._warn_once(warning)
        self._tracker.look(scanned)
        if self._has_looked:
            return
        complete = list(manifests.complete(self.store, self.job))
        self._choice.newest_step = max((each.step for each in complete), default=0)
        for candidate in scanned.candidates:
            if self._choice.is_known(candidate, complete):
                self._choice.leave(candidate)
        self._has_looked = True

    def _advance_now(self) -> list[int]:
        self._look()
        self._not_before = float("-inf")
        return self._advance(self._tracker.all(), is_last=True)

    def _advance(self, sightings: list[Sighting], *, is_last: bool = False) -> list[int]:
        done = self._merge()
        if self.clock() < self._not_before:
            return done
        try:
            if self.rank:
                self._follow(sightings, is_last=is_last)
            else:
                done += self._lead(sightings)
        except upload.Changed as problem:
            self._not_before = self.clock() + self.quiet_s
            self._warn_once(f"A checkpoint is not shipped for now: {problem}")
        except Failure:
            self._not_before = self.clock() + RETRY_S
            raise
        return done

    def _follow(self, sightings: list[Sighting], *, is_last: bool) -> None:
        if is_last:
            self._follower.add_newest(sightings)
        self._follower.answer(sightings)

    def _lead(self, sightings: list[Sighting]) -> list[int]:
        chosen = self._choice.newest(sightings)
        if chosen and not self._must_wait(chosen):
            return self._ship(chosen)
        if not chosen and self.nodes > 1:
            self._ask_for_peers_own()
        return []

    def _must_wait(self, sighting: Sighting) -> bool:
        """Tell whether the other nodes are still adding to an older checkpoint."""
        request = self._gathering.request
        return (
            request is not None
            and self._gathering.is_waiting
            and sighting.candidate.step != request.step
            and self.clock() - self._gathering.since < max(self.interval_s, PATIENCE_S)
        )

    def _ship(self, sighting: Sighting) -> list[int]:
        """Ship one checkpoint; with several nodes it is COMPLETE only when all have added to it."""
        candidate, step = sighting.candidate, self._choice.step_of(sighting)
        standing = Standing.of(self.store, self.job, step)
        if standing.manifest and self._choice.is_known(candidate, [standing.manifest]):
            self._choice.leave(candidate)
            return []
        began = self.clock()
        if self.nodes > 1:
            self._gathering.ask(step, in_place=candidate.step is None)
        files = self._upload(candidate, step, standing)
        links = upload.links_of(candidate)
        manifest = Manifest(step, self.attempt, status.now(), files, links)
        if self.nodes > 1:
            self._gathering.add_own(files, links)
        else:
            upload.write_complete(self.store, self.job, manifest, standing)
        self._choice.shipped(candidate, step)
        self._not_before = began + self.interval_s
        if self.nodes > 1:
            return self._merge()
        self._tidy(manifest)
        return [step]

    def _upload(
        self, candidate: Candidate, step: int, standing: Standing
    ) -> tuple[ShippedFile, ...]:
        prefix, folder = layout.checkpoint(self.job, step), upload.folder_for(standing)
        try:
            return upload.upload(self.store, prefix, folder, candidate, self._check)
        except Failure:  # free the space it took, if the store lets us
            with contextlib.suppress(Failure):
                if standing.manifest:
                    drop_unused(self.store, self.job, standing.manifest)
                else:
                    remove(self.store, self.job, step)
            raise

    def _merge(self) -> list[int]:
        """Write COMPLETE for what several nodes put together, when it is."""
        if self.rank or self.nodes == 1:
            return []
        manifest = self._gathering.merge(self.peers_announced, self.peers_gone)
        if manifest is None:
            self._warn_of_lacking()
            return []
        self._tidy(manifest)
        return [manifest.step]

    def _warn_of_lacking(self) -> None:
        request = self._gathering.request
        if request is None:
            return
        for rank in sorted(self._gathering.lacking):
            problem = f"node {rank} was gone before it had added its files"
            self._warn_once(f"Checkpoint {request.step} is not whole: {problem}.")

    def _ask_for_peers_own(self) -> None:
        """Ask for a checkpoint that only other nodes write."""
        own = {each.candidate.step for each in self._tracker.all()}
        announced = [s for rank, all_ in self.peers_announced().items() if rank for s in all_]
        newest = max((step for step in announced if step not in own), default=IN_PLACE)
        request = self._gathering.request
        if newest <= max(self._choice.last_step, request.step if request else IN_PLACE):
            return
        if self.store.exists(layout.checkpoint_complete(self.job, newest)):
            return
        self._gathering.ask(newest, in_place=False)
        self._gathering.add_own((), ())
        self._not_before = self.clock() + self.interval_s

    def _tidy(self, manifest: Manifest) -> None:
        try:
            if self.nodes == 1:
                drop_unused(self.store, self.job, manifest)
            busy = {step for steps in self.peers_announced().values() for step in steps}
            prune(self.store, self.job, self.keep, manifest.step, busy)
        except Failure as failure:
            self.warn(f"Older checkpoints are still there: {failure}")

    def _check(self) -> None:
        if self._stop.is_set() or self.clock() >= self._deadline:
            raise _Halted

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self.warn(message)


def _is_newer(sighting: Sighting, newest: Manifest | None) -> bool:
    """Tell whether a leftover is newer than a checkpoint: by its step, else by its time."""
    if newest is None:
        return True
    if sighting.candidate.step is not None:
        return sighting.candidate.step > newest.step
    created_at_s = status.epoch_s(newest.created_at)
    return max(file.mtime_ns for file in sighting.candidate.files) / 1e9 > created_at_s
