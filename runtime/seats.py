"""Which machine is which node, where machines come and go: places taken through the store.

A place is free when nobody has it, when who had it gave it up, or has not been heard of for long.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmcloud.runtime import heartbeat, layout, status
from llmcloud.runtime.errors import Conflict, NotFound
from llmcloud.runtime.heartbeat import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.runtime.heartbeat import Heartbeat
    from llmcloud.runtime.store import ObjectStore

POLL_S = 2.0
SILENT_S = 60.0  # who said nothing for so long while we listened is gone


@dataclass
class Seats:
    """The places of a job as one machine sees them; `me` is the machine's own id."""

    store: ObjectStore
    job: str
    nodes: int
    me: str
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep
    _heard: dict[int, tuple[str, Heartbeat | None, float]] = field(default_factory=dict)

    def claim(self) -> int | None:
        """Take a place and return its rank; None once the job has ended, and needs nobody."""
        while not (now := status.read(self.store, self.job)).state.is_final:
            for rank in range(self.nodes):
                if self._take(rank, now.attempt):
                    return rank
            self.wait(POLL_S)
        return None

    def give_up(self, rank: int) -> None:
        """Leave a place to whoever comes next, unless another one has it by now."""
        key = layout.seat(self.job, rank)
        with contextlib.suppress(NotFound):
            if self._holder(key)[0] == self.me:
                self.store.delete(key)

    def _take(self, rank: int, attempt: int) -> bool:
        key = layout.seat(self.job, rank)
        mine = json.dumps({"machine": self.me}).encode()
        try:
            self.store.put(key, mine, if_absent=True)
        except Conflict:
            pass
        else:
            return True
        try:
            holder, tag = self._holder(key)
            if holder != self.me:
                if not self._is_gone(rank, holder, attempt):
                    return False
                self.store.put(key, mine, if_match=tag)
        except (Conflict, NotFound):  # somebody else was faster
            return False
        return True

    def _holder(self, key: str) -> tuple[str, str]:
        blob = self.store.get(key)
        return str(json.loads(blob.data)["machine"]), blob.etag

    def _is_gone(self, rank: int, holder: str, attempt: int) -> bool:
        """Tell whether nothing new was heard of a place for long, by this machine's clock."""
        beat = heartbeat.read(self.store, self.job, attempt, rank)
        if beat and beat.phase is Phase.ENDED:
            beat = None  # what it does between two attempts is seen by nobody: wait all the same
        seen = (holder, beat)
        before = self._heard.get(rank)
        if before is None or before[:2] != seen:
            self._heard[rank] = (*seen, self.clock())
            return False
        return self.clock() - before[2] > SILENT_S
