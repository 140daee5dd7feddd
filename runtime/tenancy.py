"""A node's stay on a rented machine: it goes when the machine must, and nothing comes after it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmcloud.runtime import heartbeat, status
from llmcloud.runtime.heartbeat import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.runtime.machines import Machine
    from llmcloud.runtime.store import ObjectStore
    from llmcloud.runtime.task import Task

NOTICE_POLL_S = 5.0  # as EC2 recommends; of a notice of two minutes
OTHERS_S = 180.0  # how long the last machine waits for what the others still save
POLL_S = 1.0


@dataclass
class Tenancy:
    """One machine's stay in a job; `leave` is called once, when the machine is to be taken away."""

    machine: Machine
    store: ObjectStore
    task: Task
    leave: Callable[[], None] = lambda: None
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Tenancy:
        threading.Thread(target=self._watch, name="notices", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(NOTICE_POLL_S):
            if self.machine.is_leaving():
                self.leave()
                return

    def end(self, rank: int) -> None:
        """Leave the place to a replacement, or, once the job has ended, see that none comes."""
        now = status.read(self.store, self.task.job)
        if not now.state.is_final:
            self.machine.give_up()
            return
        is_last = not 0 < rank < self.task.nodes  # node 0, or one that came too late for a place
        if is_last:
            self._await_others(now.attempt, rank)
        self.machine.retire(last=is_last)

    def _await_others(self, attempt: int, rank: int) -> None:
        deadline = time.monotonic() + OTHERS_S
        while time.monotonic() < deadline:
            beats = heartbeat.read_all(self.store, self.task.job, attempt)
            others = [beat for beat in beats.values() if beat.rank != rank]
            if all(beat.phase is Phase.ENDED for beat in others):
                return
            time.sleep(POLL_S)
