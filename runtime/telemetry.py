"""Ships one attempt's log and metrics from this node, within a second of their being printed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from llmcloud.runtime import layout, segments
from llmcloud.runtime.capture import Capture
from llmcloud.runtime.errors import Failure, Unavailable
from llmcloud.runtime.metrics.collector import Collector
from llmcloud.runtime.records import decode
from llmcloud.runtime.segments import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import IO

    from llmcloud.runtime.store import ObjectStore
    from llmcloud.runtime.task import Task

FLUSH_S = 0.5
LAST_FLUSH_S = 60.0  # how long the end of a job waits for a store that does not take its log


class Telemetry:
    """A capture whose records and metrics go to the store by a thread of its own."""

    def __init__(
        self,
        store: ObjectStore,
        task: Task,
        place: tuple[int, int],
        work: Path,
        environ: Mapping[str, str],
    ) -> None:
        attempt, rank = place
        spool = work / "spool" / str(attempt)
        self._log = SegmentWriter(
            store, layout.stream(task.job, "logs", attempt, rank), spool / "logs"
        )
        self._metrics = SegmentWriter(
            store, layout.stream(task.job, "metrics", attempt, rank), spool / "metrics"
        )
        self._patterns = task.metrics
        self._collector: Collector | None = None
        self._collecting = threading.Lock()
        self.capture = Capture(
            self._append,
            self._collect,
            [environ[name] for name in task.secrets if name in environ],
        )
        self.step: int | None = None
        self.echo: IO[bytes] | None = None  # where every line goes as well
        self._said: set[str] = set()
        self._over = threading.Event()
        self._printed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def __enter__(self) -> Telemetry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._printed.set()
        self._thread.join()

    def close(self) -> None:
        """Ship all that is left; raises Failure if the store does not take it in time."""
        self.__exit__()
        self.capture.finish()
        self._read_metrics()
        deadline = time.monotonic() + LAST_FLUSH_S
        while True:
            try:
                self._log.close()
                self._metrics.close()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(FLUSH_S)
            else:
                return

    def _append(self, records: bytes) -> None:
        self._log.append(records)
        self._printed.set()
        if self.echo:
            for record, _ in decode(records):
                self.echo.write(record.text + (b"\n" if record.ends_line else b""))
            self.echo.flush()

    def _run(self) -> None:
        """Ship the first line after a silence at once, and those that follow in turns."""
        while not self._over.is_set():
            was_printed = self._printed.wait(FLUSH_S)
            self._printed.clear()
            self._ship()
            if was_printed:
                self._over.wait(FLUSH_S)

    def _ship(self) -> None:
        self.capture.tick()
        try:
            self._read_metrics()
            self._log.flush()
            self._metrics.flush()
        except (Failure, OSError) as failure:
            self._say_once(f"The log can't be shipped for now: {failure}")  # the next flush may

    def read_metrics(self, folders: list[Path]) -> None:
        """Look for metrics from now on: what was printed or lay there before is of no training."""
        with self._collecting:
            self._collector = Collector(self._patterns, folders)

    def _say_once(self, problem: str) -> None:
        if problem not in self._said:
            self._said.add(problem)
            self.capture.say(problem)

    def _collect(self, line: str) -> None:
        with self._collecting:
            if self._collector:
                self._collector.feed(line)

    def _read_metrics(self) -> None:
        with self._collecting:
            found = self._collector.poll() if self._collector else []
            problems = self._collector.problems() if self._collector else []
        for problem in problems:
            self._say_once(problem)
        if found:
            self.step = next((m.step for m in reversed(found) if m.step is not None), self.step)
            self._metrics.append(b"".join(metric.to_json().encode() + b"\n" for metric in found))


def ship_leftovers(store: ObjectStore, work: Path) -> None:
    """Ship what an earlier incarnation of this node could not."""
    for marker in sorted((work / "spool").glob("*/*/stream")):
        segments.ship_leftovers(store, marker.parent)
