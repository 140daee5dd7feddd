"""Follow a job: its lines as they come, until it has ended and nothing more can come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmcloud.runtime import heartbeat, status
from llmcloud.runtime.heartbeat import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.core.logs import Line, LogReader
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.store import ObjectStore

POLL_S = 0.2
DRAIN_S = 10.0  # how long a job that has ended is waited for by those that still ship its log


def follow(
    reader: LogReader,
    over: Callable[[], bool],
    caught_up: Callable[[], None],
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Line]:
    """Yield lines until `over`; what was shipped before `over` said so is all yielded.

    `caught_up` is called whenever there is nothing more to yield for now.
    """
    while True:
        ended = over()
        yield from reader.poll()
        caught_up()
        if ended:
            return
        wait(POLL_S)


class Ending:
    """Tells when a job's log is complete: the job has ended, and so have its nodes.

    `observe` merges the store's word with the provider's, so that a lost job ends as well.
    """

    def __init__(
        self,
        store: ObjectStore,
        job: str,
        observe: Callable[[], Status],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._job, self._observe, self._clock = store, job, observe, clock
        self._ended_at_s: float | None = None
        self.status: Status | None = None

    def __call__(self) -> bool:
        """Look once."""
        self.status = self._observe()
        if not self.status.state.is_final:
            return False
        self._ended_at_s = self._ended_at_s or self._clock()
        if self.status.state is status.State.LOST:
            return True
        beats = heartbeat.read_all(self._store, self._job, self.status.attempt)
        if all(beat.phase is Phase.ENDED for beat in beats.values()):
            return True
        return self._clock() - self._ended_at_s > DRAIN_S


def wait_for_end(
    observe: Callable[[], Status],
    timeout_s: float | None,
    tell: Callable[[Status], None],
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Status:
    """Return a job's status once it is final, or as it is when the time is up.

    `tell` is given each status that is seen on the way.
    """
    deadline = None if timeout_s is None else clock() + timeout_s
    while True:
        seen = observe()
        tell(seen)
        if seen.state.is_final or (deadline is not None and clock() >= deadline):
            return seen
        wait(POLL_S)
