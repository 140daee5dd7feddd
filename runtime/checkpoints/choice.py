"""Chooses which checkpoint of the folder is to be shipped, and under which step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.runtime.checkpoints import validity
from llmcloud.runtime.checkpoints.upload import is_same
from llmcloud.runtime.file_names import is_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmcloud.runtime.checkpoints.found import Candidate, LocalFile
    from llmcloud.runtime.checkpoints.manifest import Manifest
    from llmcloud.runtime.checkpoints.tracker import Sighting


class Choice:
    """Remembers what was dealt with; `newest_step` is the newest that anyone has shipped."""

    def __init__(self, rank: int, warn: Callable[[str], None]) -> None:
        self._rank, self._warn = rank, warn
        self._handled: dict[int | None, frozenset[LocalFile]] = {}
        self.newest_step = 0
        self.last_step = -1  # the last that this node has shipped

    def leave(self, candidate: Candidate) -> None:
        """Deal no more with a candidate, until its files change."""
        self._handled[candidate.step] = candidate.fingerprint

    def shipped(self, candidate: Candidate, step: int) -> None:
        """Remember that a candidate went to the store."""
        self.leave(candidate)
        self.last_step, self.newest_step = step, max(step, self.newest_step)

    def is_new(self, candidate: Candidate) -> bool:
        """Tell whether a candidate has not been dealt with as it is now."""
        return self._handled.get(candidate.step) != candidate.fingerprint

    def is_known(self, candidate: Candidate, complete: Iterable[Manifest]) -> bool:
        """Tell whether the store has this already: it was restored, or written again unchanged."""
        return any(
            is_same(candidate, each, self._rank)
            for each in complete
            if candidate.step in {None, each.step}
        )

    def newest(self, sightings: list[Sighting]) -> Sighting | None:
        """Return the newest that is new and whole, unless something newer was shipped."""
        for each in sorted(sightings, key=self.step_of, reverse=True):
            if self.step_of(each) < self.last_step:
                return None
            if self.is_shippable(each.candidate):
                return each
        return None

    def is_shippable(self, candidate: Candidate) -> bool:
        """Tell whether a candidate is new and whole; warns, once, of what is quiet and torn."""
        if not self.is_new(candidate) or candidate.unfinished:
            return False
        reason = _fault(candidate)
        if reason and all(file.is_unchanged() for file in candidate.files):
            self.leave(candidate)
            name = candidate.files[0].name if candidate.step is None else candidate.step
            self._warn(f"Checkpoint {name} is not shipped: {reason}.")
        return reason is None

    def step_of(self, sighting: Sighting) -> int:
        """Return the step a sighting ships under; each version in place has one of its own."""
        if sighting.candidate.step is not None:
            return sighting.candidate.step
        then = sighting.step_then
        return then if then is not None and then > self.newest_step else self.newest_step + 1


def _fault(candidate: Candidate) -> str | None:
    files = (*candidate.files, *candidate.pointers)
    for file in files:
        if not is_safe(file.name):
            return f"{file.name!r} can't be the name of an object"
    return validity.check_files([file.path for file in candidate.files])
