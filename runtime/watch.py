"""What a node keeps an eye on while it works: cancel, expiry, its peers, its parent, the store."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.runtime import heartbeat, layout, status
from llmcloud.runtime.errors import Failure, StoreGone
from llmcloud.runtime.heartbeat import Outcome, Phase
from llmcloud.runtime.supervise import Reason, Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.runtime.heartbeat import Heartbeat
    from llmcloud.runtime.store import ObjectStore
    from llmcloud.runtime.task import Task

POLL_S = 1.0
LOOK_GAP_S = 5.0  # of a longer pause between two looks only so much is a peer's silence
STALE_S = 60.0  # a node that was looked at for so long and said nothing new is lost
LEADERLESS_S = 300.0  # without node 0 for so long, the others stop: none can decide or replace it
STORE_GONE_S = 30.0  # so long a store may be unmounted before the job gives up


@dataclass(frozen=True)
class Watched:
    """One node's part in one attempt, as the watch needs to know it."""

    store: ObjectStore
    task: Task
    attempt: int
    rank: int
    expires_at_s: float | None = None  # on the clock below
    parent: int | None = None  # the process that can bring this node back; None: a machine does


class Peers:
    """The other nodes' heartbeats, and for how long each has said nothing, by this node's clock.

    Times written by other machines are never compared: their clocks may be wrong, or jump. While
    this node could not look (the store was away, the machine slept) nobody could be heard.
    """

    def __init__(self, watched: Watched, clock: Callable[[], float] = time.monotonic) -> None:
        self._watched, self._clock = watched, clock
        self._beats: dict[int, Heartbeat] = {}
        self._silent_s = dict.fromkeys(range(watched.task.nodes), 0.0)
        self._looked_at = clock()
        self._looking = threading.Lock()

    def refresh(self) -> dict[int, Heartbeat]:
        """Read all heartbeats of the attempt and return them by rank; from any thread."""
        watched = self._watched
        with self._looking:
            found = heartbeat.read_all(watched.store, watched.task.job, watched.attempt)
            passed_s = min(self._clock() - self._looked_at, LOOK_GAP_S)
            self._looked_at = self._clock()
            for rank in self._silent_s:
                is_new = found.get(rank) != self._beats.get(rank)
                self._silent_s[rank] = 0.0 if is_new else self._silent_s[rank] + passed_s
            self._beats = found
        return found

    def lost(self) -> list[int]:
        """Return the ranks that have been silent for too long without having ended."""
        return [
            rank
            for rank, silent_s in self._silent_s.items()
            if rank != self._watched.rank and silent_s > STALE_S and not self.ended(rank)
        ]

    def ended(self, rank: int) -> bool:
        """Tell whether a node has ended its part."""
        beat = self._beats.get(rank)
        return beat is not None and beat.phase is Phase.ENDED


class Leader:
    """Node 0 as another node hears of it, as `Peers` does of all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._silent_s = clock, 0.0
        self._heard: Heartbeat | None = None
        self._looked_at = clock()

    def silent_s(self, beat: Heartbeat | None) -> float:
        """Return for how long node 0 has said nothing new; `beat` is its newest now."""
        passed_s = min(self._clock() - self._looked_at, LOOK_GAP_S)
        self._looked_at = self._clock()
        self._silent_s = 0.0 if beat != self._heard else self._silent_s + passed_s
        self._heard = beat
        return self._silent_s


class Watch:
    """A thread that asks for a stop when there is a reason, and calls `beat` now and then.

    On node 0 it says, once each, which other nodes were lost or failed.
    """

    def __init__(
        self,
        watched: Watched,
        stop: Stop,
        beat: Callable[[], None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched, self._stop, self._beat, self._clock = watched, stop, beat, clock
        self._say, self._told = say, set[str]()
        self.peers = Peers(watched, clock)
        self._beat_at = clock()
        self._leader = Leader(clock)
        self._store_gone_at: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self.look()  # before anything is begun that may not be wanted any more
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(POLL_S):
            self.look()

    def look(self) -> None:
        """Look at everything once."""
        if self._watched.parent not in {None, os.getppid()}:
            self._stop.ask(Reason.ABANDONED)
        expires_at_s = self._watched.expires_at_s
        if expires_at_s is not None and self._clock() >= expires_at_s:
            self._stop.ask(Reason.EXPIRED)
        try:
            self._look_at_store()
        except StoreGone:
            self._store_gone_at = self._store_gone_at or self._clock()
            if self._clock() - self._store_gone_at > STORE_GONE_S:
                self._stop.ask(Reason.STORE_GONE)
        except Failure:
            return  # a store that does not answer is no reason to stop; the next look may do
        else:
            self._store_gone_at = None

    def _look_at_store(self) -> None:
        watched = self._watched
        if watched.store.exists(layout.cancel(watched.task.job)):
            self._stop.ask(Reason.CANCELLED)
        found = status.read(watched.store, watched.task.job)
        if found.attempt != watched.attempt or found.state.is_final:
            self._stop.ask(Reason.STOPPED)
        if watched.task.nodes > 1:
            self._look_at_peers()
        if self._clock() - self._beat_at >= heartbeat.INTERVAL_S:
            self._beat_at = self._clock()
            self._beat()

    def _look_at_peers(self) -> None:
        """Node 0 looks at all, the others at node 0: one that ended badly ends the attempt."""
        watched = self._watched
        if watched.rank == 0:
            beats = dict(self.peers.refresh())
            for rank in self.peers.lost():
                if rank in beats:  # one that never came is waited for by the meeting
                    beats[rank] = dataclasses.replace(
                        beats[rank], phase=Phase.ENDED, outcome=Outcome.LOST
                    )
            seen = [beat for rank, beat in sorted(beats.items()) if rank]
            self._tell(seen)
        else:
            first = heartbeat.read(watched.store, watched.task.job, watched.attempt, 0)
            is_silent = self._leader.silent_s(first) > LEADERLESS_S
            if is_silent and first and first.phase is not Phase.ENDED:
                self._stop.ask(Reason.STOPPED)
            seen = [first] if first else []
        for beat in seen:
            if beat.phase is Phase.ENDED and beat.outcome is not Outcome.SUCCEEDED:
                self._stop.ask(Reason.STOPPED)

    def _tell(self, seen: list[Heartbeat]) -> None:
        for news in filter(None, map(_news, seen)):
            if news not in self._told:
                self._told.add(news)
                self._say(news)


def _news(beat: Heartbeat) -> str | None:
    """Say what became of a node that is the reason for an attempt's end; None for all others."""
    if beat.phase is not Phase.ENDED:
        return None
    if beat.outcome is Outcome.FAILED:
        return f"Node {beat.rank} failed: {beat.error}"
    if beat.outcome in {Outcome.LOST, Outcome.PREEMPTED}:
        return f"Node {beat.rank} was {beat.outcome.value}."
    return None
