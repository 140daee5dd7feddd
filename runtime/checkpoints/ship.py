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
from datetime import datetime
from typing import TYPE_CHECKING

from llmcloud.runtime import layout, status
from llmcloud.runtime.checkpoints import aside, upload, validity
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.checkpoints.found import scan
from llmcloud.runtime.checkpoints.gather import (
    IN_PLACE,
    Gathering,
    part_folder,
    requested,
    write_part,
)
from llmcloud.runtime.checkpoints.manifest import Manifest
from llmcloud.runtime.checkpoints.prune import drop_unused, prune, remove
from llmcloud.runtime.checkpoints.restore import set_torn_aside, was_cut_off
from llmcloud.runtime.checkpoints.tracker import Sighting, Tracker
from llmcloud.runtime.checkpoints.upload import Standing
from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmcloud.runtime.checkpoints.found import Candidate, LocalFile
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
    `peers_announced` what the other nodes have `announced`. Rank 0 writes COMPLETE.
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
    warn: Callable[[str], None] = _nothing
    set_aside: Path | None = None
    _handled: dict[int | None, frozenset[LocalFile]] = field(default_factory=dict, init=False)
    _not_before: float = field(default=float("-inf"), init=False)
    _deadline: float = field(default=float("inf"), init=False)
    _last_step: int = field(default=-1, init=False)
    _in_place_step: int = field(default=0, init=False)
    _warned: set[str] = field(default_factory=set, init=False)
    _has_looked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._tracker = Tracker(self.quiet_s, self.clock, self.current_step)
        self._stop = threading.Event()
        self._gathering = Gathering(self.store, self.job, self.attempt, self.nodes, self.clock)

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

        With several nodes, also waits until all have added their files. Undoes `stop`.
        """
        self._stop.clear()
        self._deadline = self.clock() + deadline_s
        done: list[int] = []
        try:
            for _ in range(FLUSH_TRIES):
                done += self._advance_now()
                if self._choose(self._tracker.all()) is None:
                    break
            while self._is_waiting():
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
            if self._handled.get(each.step) != each.fingerprint
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
        complete = manifests.complete(self.store, self.job)
        self._in_place_step = max((each.step for each in complete), default=0)
        for candidate in scanned.candidates:
            if self._is_known(candidate, complete):
                self._handled[candidate.step] = candidate.fingerprint
        self._has_looked = True

    def _is_known(self, candidate: Candidate, complete: list[Manifest]) -> bool:
        """Tell whether the store has this already: it was restored, or written again unchanged."""
        return any(
            upload.is_same(candidate, each, self.rank)
            for each in complete
            if candidate.step in {None, each.step}
        )

    def _advance_now(self) -> list[int]:
        self._look()
        self._not_before = float("-inf")
        if self.rank:
            self._add_newest_part()
        return self._advance(self._tracker.all())

    def _advance(self, sightings: list[Sighting]) -> list[int]:
        if self.rank:
            self._answer(sightings)
            return []
        done = self._merge()
        if self.clock() < self._not_before:
            return done
        chosen = self._choose(sightings)
        try:
            if chosen:
                done += self._ship(chosen)
            elif self.nodes > 1:
                self._ask_for_peers_own()
        except upload.Changed:  # it is seen as changed by the next look
            pass
        except Failure:
            self._not_before = self.clock() + RETRY_S
            raise
        return done

    def _choose(self, sightings: list[Sighting]) -> Sighting | None:
        """Return the newest that is whole, new, and no older than what was shipped last."""
        for each in sorted(sightings, key=self._step_of, reverse=True):
            candidate = each.candidate
            if self._handled.get(candidate.step) == candidate.fingerprint or candidate.unfinished:
                continue
            if self._step_of(each) < self._last_step or self._must_wait(each):
                return None
            reason = validity.check_files([file.path for file in candidate.files])
            if reason is None:
                return each
            if all(file.is_unchanged() for file in candidate.files):
                self._handled[candidate.step] = candidate.fingerprint
                self.warn(f"Checkpoint {self._step_of(each)} is not shipped: {reason}.")
        return None

    def _must_wait(self, sighting: Sighting) -> bool:
        """Tell whether the other nodes are still adding to an older checkpoint."""
        request = self._gathering.request
        return (
            self._gathering.is_waiting
            and request is not None
            and sighting.candidate.step != request.step
            and self.clock() - self._gathering.since < max(self.interval_s, PATIENCE_S)
        )

    def _step_of(self, sighting: Sighting) -> int:
        """Return the step a sighting ships under; each version in place has one of its own."""
        if sighting.candidate.step is not None:
            return sighting.candidate.step
        then = sighting.step_then
        return then if then is not None and then > self._in_place_step else self._in_place_step + 1

    def _ship(self, sighting: Sighting) -> list[int]:
        """Ship one checkpoint; with several nodes it is COMPLETE only when all have added to it."""
        candidate, step = sighting.candidate, self._step_of(sighting)
        if self._is_known(candidate, manifests.complete(self.store, self.job)):
            self._handled[candidate.step] = candidate.fingerprint
            return []
        began = self.clock()
        if self.nodes > 1:
            self._gathering.ask(step, in_place=candidate.step is None)
        standing = Standing.of(self.store, self.job, step)
        prefix = layout.checkpoint(self.job, step)
        try:
            files = upload.upload(
                self.store, prefix, upload.folder_for(standing), candidate, self._check
            )
        except Failure:
            self._drop_half(step, standing)
            raise
        links = upload.links_of(candidate)
        if self.nodes > 1:
            self._gathering.add_own(files, links)
        else:
            manifest = Manifest(step, self.attempt, status.now(), files, links)
            upload.write_complete(self.store, self.job, manifest, standing)
        self._handled[candidate.step] = candidate.fingerprint
        self._last_step, self._in_place_step = step, max(step, self._in_place_step)
        self._not_before = began + self.interval_s
        if self.nodes > 1:
            return self._merge()
        self._tidy(manifest)
        return [step]

    def _merge(self) -> list[int]:
        """Write COMPLETE for what several nodes put together, when it is."""
        if self.nodes == 1:
            return []
        manifest = self._gathering.merge(self.peers_announced())
        if manifest is None:
            return []
        self._tidy(manifest)
        return [manifest.step]

    def _ask_for_peers_own(self) -> None:
        """Ask for a checkpoint that only other nodes write."""
        own = {each.candidate.step for each in self._tracker.all()}
        announced = [s for rank, all_ in self.peers_announced().items() if rank for s in all_]
        newest = max((step for step in announced if step not in own), default=-1)
        request = self._gathering.request
        if newest <= self._last_step or (request and newest <= request.step):
            return
        if self.store.exists(layout.checkpoint_complete(self.job, newest)):
            return
        self._gathering.ask(newest, in_place=False)
        self._gathering.add_own((), ())
        self._not_before = self.clock() + self.interval_s

    def _answer(self, sightings: list[Sighting]) -> None:
        """Add this node's files to the checkpoint that node 0 asks for."""
        request = requested(self.store, self.job, self.attempt)
        if request is None:
            return
        for each in sightings:
            candidate = each.candidate
            wanted = None if request.in_place else request.step
            if candidate.step == wanted and self._is_shippable(candidate):
                self._add_part(request.step, candidate)

    def _add_newest_part(self) -> None:
        """Add what is newest here without being asked, for there may be no time to be."""
        chosen = self._choose(self._tracker.all())
        if chosen and chosen.candidate.step is not None:
            self._add_part(chosen.candidate.step, chosen.candidate)

    def _add_part(self, step: int, candidate: Candidate) -> None:
        prefix, folder = layout.checkpoint(self.job, step), part_folder(self.rank)
        try:
            files = upload.upload(self.store, prefix, folder, candidate, self._check)
        except upload.Changed:
            return
        write_part(self.store, self.job, step, self.rank, (self.attempt, files))
        self._handled[candidate.step] = candidate.fingerprint
        self._last_step = step

    def _is_shippable(self, candidate: Candidate) -> bool:
        is_new = self._handled.get(candidate.step) != candidate.fingerprint
        paths = [file.path for file in candidate.files]
        return is_new and not candidate.unfinished and validity.check_files(paths) is None

    def _is_waiting(self) -> bool:
        """Tell whether a flush must wait for the other nodes."""
        if self.rank and self._last_step >= 0:
            key = layout.checkpoint_complete(self.job, self._last_step)
            return not self.store.exists(key)
        return self._gathering.is_waiting

    def _tidy(self, manifest: Manifest) -> None:
        busy = {step for steps in self.peers_announced().values() for step in steps}
        try:
            if self.nodes == 1:
                drop_unused(self.store, self.job, manifest)
            prune(self.store, self.job, self.keep, {*busy, manifest.step})
        except Failure as failure:
            self.warn(f"Older checkpoints are still there: {failure}")

    def _drop_half(self, step: int, standing: Standing) -> None:
        """Free the space of an upload that failed, if the store lets us."""
        with contextlib.suppress(Failure):
            if standing.manifest:
                drop_unused(self.store, self.job, standing.manifest)
            else:
                remove(self.store, self.job, step)

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
    created_at = datetime.fromisoformat(newest.created_at.replace("Z", "+00:00")).timestamp()
    return max(file.mtime_ns for file in sighting.candidate.files) / 1e9 > created_at
