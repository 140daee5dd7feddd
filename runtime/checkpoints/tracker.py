"""Tells when a checkpoint is written to the end: nothing of it changes for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.runtime.checkpoints import validity
from llmcloud.runtime.checkpoints.found import global_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.runtime.checkpoints.found import Candidate, LocalFile, Scan


@dataclass
class Sighting:
    """A candidate as it was last seen to change; `step_then` is the training's step at that time.

    `renamed` says that it came as a whole, so that one more look without a change is enough.
    """

    candidate: Candidate
    since: float
    step_then: int | None
    renamed: bool
    looks: int = 0


class Tracker:
    """Remembers between two looks at the folder; `clock` counts seconds and never goes back."""

    def __init__(
        self, quiet_s: float, clock: Callable[[], float], current_step: Callable[[], int | None]
    ) -> None:
        self._quiet_s, self._clock, self._current_step = quiet_s, clock, current_step
        self._seen: dict[int | None, Sighting] = {}
        self._temporary: set[int] = set()

    def look(self, scan: Scan) -> None:
        """Take in what the folder holds now."""
        now = self._clock()
        seen: dict[int | None, Sighting] = {}
        for candidate in scan.candidates:
            former = self._seen.get(candidate.step)
            if former and former.candidate.fingerprint == candidate.fingerprint:
                former.looks += 1
                former.candidate = candidate  # its pointers may have changed
                seen[candidate.step] = former
            else:
                seen[candidate.step] = self._sighting(candidate, former, now)
        self._seen, self._temporary = seen, scan.temporary

    def quiet(self) -> list[Sighting]:
        """Return those that are not being written to any more."""
        now = self._clock()
        return [
            each
            for each in self._seen.values()
            if now - each.since >= self._quiet_s or (each.renamed and each.looks)
        ]

    def all(self) -> list[Sighting]:
        """Return all that was last seen."""
        return list(self._seen.values())

    def _sighting(self, candidate: Candidate, former: Sighting | None, now: float) -> Sighting:
        step = candidate.step
        if step is None:
            step = global_step(candidate.files)
            step = self._current_step() if step is None else step
        return Sighting(candidate, now, step, self._came_whole(candidate, former))

    def _came_whole(self, candidate: Candidate, former: Sighting | None) -> bool:
        """Tell whether it was renamed into place: from a name we saw, or a file whole at once."""
        if candidate.unfinished:
            return False
        before = {file.inode for file in former.candidate.files} if former else set[int]()
        fresh = [file for file in candidate.files if file.inode not in before]
        if fresh and all(self._was_temporary(file) for file in fresh):
            return True
        if len(candidate.files) > 1 or len(fresh) != 1:
            return False
        path = fresh[0].path
        return validity.proves_itself(path) and validity.check(path) is None

    def _was_temporary(self, file: LocalFile) -> bool:
        if file.inode in self._temporary:
            return True
        folders = list(file.path.parents)[: file.name.count("/")]
        try:
            return any(folder.stat().st_ino in self._temporary for folder in folders)
        except OSError:
            return False
