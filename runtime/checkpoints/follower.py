"""What a node other than the first does: add its files to the checkpoint that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints.gather import Part, part_folder, requested, write_part
from llmcloud.runtime.checkpoints.upload import upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.runtime.checkpoints.choice import Choice
    from llmcloud.runtime.checkpoints.found import Candidate
    from llmcloud.runtime.checkpoints.tracker import Sighting
    from llmcloud.runtime.store import ObjectStore


@dataclass(frozen=True)
class Follower:
    """The other side of Gathering; `go_on` may raise between two files.

    Its methods raise upload.Changed when files change under them.
    """

    store: ObjectStore
    job: str
    rank: int
    attempt: int
    choice: Choice
    go_on: Callable[[], None]

    def answer(self, sightings: list[Sighting]) -> None:
        """Add this node's files to the checkpoint that node 0 asks for."""
        request = requested(self.store, self.job, self.attempt)
        if request is None:
            return
        wanted = None if request.in_place else request.step
        for each in sightings:
            if each.candidate.step == wanted and self.choice.is_shippable(each.candidate):
                self._add(request.step, each.candidate)

    def add_newest(self, sightings: list[Sighting]) -> None:
        """Add what is newest here without being asked, for there may be no time to be."""
        chosen = self.choice.newest(sightings)
        if chosen and chosen.candidate.step is not None:
            self._add(chosen.candidate.step, chosen.candidate)

    def say_done(self) -> None:
        """Tell node 0 that nothing more will be announced, so that it needn't wait for it."""
        self.store.put(layout.checkpoints_done(self.job, self.attempt, self.rank), b"")

    @property
    def is_waiting(self) -> bool:
        """Tell whether the last checkpoint this node added to is still not COMPLETE."""
        step = self.choice.last_step
        return step >= 0 and not self.store.exists(layout.checkpoint_complete(self.job, step))

    def _add(self, step: int, candidate: Candidate) -> None:
        prefix, folder = layout.checkpoint(self.job, step), part_folder(self.rank)
        files = upload(self.store, prefix, folder, candidate, self.go_on)
        write_part(self.store, self.job, step, Part(self.rank, self.attempt, files))
        self.choice.shipped(candidate, step)
