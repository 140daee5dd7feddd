"""A node's place in its job: what its attempts have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.runtime.store import ObjectStore
    from llmcloud.runtime.task import Task


@dataclass(frozen=True)
class Seat:
    """A node's place in its job; `expires_at_s` is on this machine's monotonic clock.

    `kept` is a folder of the machine's that is to be the one of the checkpoints. What goes to the
    log is printed as well with `echoes`.
    """

    store: ObjectStore
    task: Task
    rank: int
    work: Path
    environments: Path
    host: str
    incarnation: str
    expires_at_s: float | None
    parent: int | None = None
    kept: Path | None = None
    echoes: bool = False

    @property
    def code(self) -> Path:
        """Return the folder the job runs in."""
        return self.work / "code"

    @property
    def checkpoints(self) -> Path:
        """Return the folder the job writes its checkpoints to."""
        return self.code / self.task.checkpoints.path

    def link_checkpoints(self) -> None:
        """Have the machine's own folder of checkpoints in its place among the code."""
        if self.kept and not self.checkpoints.is_symlink():
            self.checkpoints.parent.mkdir(parents=True, exist_ok=True)
            self.checkpoints.symlink_to(self.kept)

    @property
    def set_aside(self) -> Path:
        """Return where torn checkpoints go."""
        return self.work / "set-aside"
