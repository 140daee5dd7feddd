"""Daemon threads that work side by side, and how many of them may ask the store at once."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WAITING = 2  # units of work that wait for each thread
REST_S = 0.1
POLL_S = 0.5
GRACE_S = 5.0
LOOK_S = 0.05
BUSY = 0.4  # of a CPU: more threads would only take turns at the interpreter's lock


class Stopped(Exception):
    """The transfer is over: another part of it failed, or the user interrupted."""


class Pool:
    """Lanes of threads for units of work; the first failure that a unit raises stops them all.

    Daemon threads, and waits in Python: so Ctrl-C interrupts at once, whatever a thread is at.
    """

    def __init__(self, *threads: int, few: Sequence[int] | None = None) -> None:
        """Make lanes of so many threads at most; all but a `few` only where they wait."""
        self.stopped = threading.Event()
        self.pace = Pace(max(threads))
        pairs = zip(few or threads, threads, strict=True)
        self._lanes = [_Lane(least, most, queue.Queue(most * WAITING)) for least, most in pairs]
        self._load = Load()
        self._ends: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ended = 0
        self.has_ended = False  # known after a failure: no thread does anything any more
        self._failure: BaseException | None = None

    def add(self, work: Callable[[], None], lane: int = 0) -> None:
        """Give work to a lane, waiting while its threads have enough; raises what stopped it."""
        self._put(self._lanes[lane], work)

    def finish(self) -> None:
        """Wait until all is done; raises what stopped it."""
        while (
            any(lane.started and self._grow(lane) for lane in self._lanes)
            and not self.stopped.is_set()
        ):
            self.stopped.wait(LOOK_S)
        self.pace.is_over = True
        for lane in self._lanes:
            for _ in range(lane.started):
                self._put(lane, None)
        self.await_end()
        self._raise()

    def await_end(self, timeout_s: float | None = None) -> bool:
        """Wait for all threads to end, for each so long; tells whether they have."""
        while self._ended < sum(lane.started for lane in self._lanes):
            try:
                self._ends.get(timeout=timeout_s)
            except queue.Empty:
                return False
            self._ended += 1
        return True

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Wait for the threads; stop them when the caller fails, and at once on Ctrl-C."""
        try:
            yield
            self.finish()
        except Exception:
            self.stopped.set()
            self.has_ended = self.await_end(GRACE_S)  # what they are at, they would do later
            raise
        finally:
            self.stopped.set()

    def _put(self, lane: _Lane, work: Callable[[], None] | None) -> None:
        while not self.stopped.is_set():
            if work:
                self._grow(lane)
            with contextlib.suppress(queue.Full):
                lane.todo.put(work, timeout=LOOK_S if lane.started < lane.threads else POLL_S)
                return
        self._raise()

    def _grow(self, lane: _Lane) -> bool:
        """Start another thread if there is work for it, and the machine waits more than it works.

        Answers from far away take many threads, those from nearby are faster with few. Tells
        whether to look again, since there may be more.
        """
        if lane.started == lane.threads or (lane.started and lane.todo.empty()):
            return False
        if lane.started < lane.least or self._load.is_low():
            threading.Thread(target=self._work, args=(lane, lane.started), daemon=True).start()
            lane.started += 1
        return True

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self.stopped.is_set():
            raise Stopped

    def _work(self, lane: _Lane, rank: int) -> None:
        try:
            while not self.stopped.is_set():
                if self.pace.rests(rank / lane.threads):
                    continue
                try:
                    work = lane.todo.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if work is None:
                    break
                work()
        except Stopped:
            pass
        except BaseException as failure:  # noqa: BLE001 - raised again in the caller's thread
            self._failure = self._failure or failure
            self.stopped.set()
        finally:
            self._ends.put(None)


@dataclass
class _Lane:
    least: int
    threads: int
    todo: queue.Queue[Callable[[], None] | None]
    started: int = 0


class Load:
    """How busy this process keeps the machine."""

    def __init__(self) -> None:
        self._at, self._cpu_s = time.monotonic(), time.process_time()

    def is_low(self) -> bool:
        """Tell whether it rather waited, of late; false until there was time to see it."""
        at, cpu_s = time.monotonic(), time.process_time()
        if at - self._at < LOOK_S:
            return False
        busy = (cpu_s - self._cpu_s) / (at - self._at)
        self._at, self._cpu_s = at, cpu_s
        return busy < BUSY


class Pace:
    """How many threads may work: one more as long as all goes well, half when it does not.

    So a store that throttles gets what it can take, and a fast one all that we have. A thread
    rests only between two units of work, so that the first of them always gets to the last unit.
    """

    def __init__(self, most: int) -> None:
        self.limit = float(most)
        self._given_up = 0
        self.is_over = False  # nothing more will come: who rests may see that and end
        self._most = most
        self._cut_at = 0.0
        self._lock = threading.Lock()

    def rests(self, rank: float) -> bool:
        """Wait a little if a thread is one too many; `rank` is 0 for a lane's first, below 1."""
        if rank * self._most < self.limit or self.is_over:
            return False
        time.sleep(REST_S)
        return True

    def went_well(self) -> None:
        """Count a request that succeeded."""
        self._given_up = 0
        if self.limit < self._most:
            with self._lock:
                self.limit = min(self.limit + 1 / self.limit, self._most)

    def gave_up(self) -> int:
        """Count a request that was tried to the end, and return how many were in a row."""
        with self._lock:
            self._given_up += 1
            return self._given_up

    def went_badly(self, begun_at: float) -> None:
        """Slow down after a request that was throttled or got no answer.

        Those that were under way together count once.
        """
        with self._lock:
            if begun_at >= self._cut_at:
                self.limit = max(self.limit / 2, 1.0)
                self._cut_at = time.monotonic()
