"""Watch a job: all that is to be seen of it at one moment, read bit by bit."""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core.follow import Ending
from llmcloud.core.logs import LogReader
from llmcloud.core.metrics import MetricsReader
from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints import manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.core.job import View
    from llmcloud.core.logs import Line
    from llmcloud.runtime.metrics.progress import Progress
    from llmcloud.runtime.store import ObjectStore

LOG_LINES = 100  # more than any terminal shows
LOG_NODES = 8  # whose logs are read: of many nodes the first tell enough
LINE_CHARS_MAX = 1000

# What would move a terminal's cursor or change its colours: CSI, OSC and other escape sequences.
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


@dataclass(frozen=True)
class LogLine:
    """A line of a job's log as it can be shown: one line, no control characters."""

    node: int
    text: str
    is_system: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A job at one moment; `at_s` is seconds since the epoch.

    `is_over` says that nothing more can come. The curves are (step, value); `checkpoints` are the
    steps of those that are complete.
    """

    at_s: float
    view: View
    roles: tuple[str, ...]
    progress: Progress
    loss: tuple[tuple[float, float], ...] = ()
    eval_loss: tuple[tuple[float, float], ...] = ()
    checkpoints: tuple[int, ...] = ()
    log: tuple[LogLine, ...] = ()
    is_over: bool = False

    @property
    def stage(self) -> str:
        """Return the state in a word, as `jobs.stage` does."""
        return jobs.stage(self.view.status, self.view.beats, len(self.roles))


class Watcher:
    """Looks at a job again and again, and reads only what is new each time."""

    def __init__(
        self,
        store: ObjectStore,
        job: str,
        observe: Callable[[], View],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._job, self._observe, self._clock = store, job, observe, clock
        self._roles = jobs.read(store, job).task.roles
        self._metrics = MetricsReader(store, job)
        self._log = LogReader(store, job, nodes=range(min(len(self._roles), LOG_NODES)))
        self._log.skip_to_tail(LOG_LINES)
        self._tail = LogTail()
        self._complete: set[int] = set()
        self._view = observe()
        self._ending = Ending(store, job, lambda: self._view.status)

    def look(self) -> Snapshot:
        """Return the job as it is now."""
        self._view = self._observe()
        is_over = self._ending()  # asked first: what was shipped by then is read below
        self._metrics.poll()
        for line in self._log.poll():
            self._tail.add(line)
        history = self._metrics.history
        return Snapshot(
            at_s=self._clock(),
            view=self._view,
            roles=self._roles,
            progress=history.progress(),
            loss=tuple(history.curve()),
            eval_loss=tuple(history.curve("eval_loss")),
            checkpoints=self._checkpoints(),
            log=self._tail.lines(),
            is_over=is_over,
        )

    def _checkpoints(self) -> tuple[int, ...]:
        steps = manifest.steps(self._store, self._job)
        self._complete = {
            step
            for step in steps
            if step in self._complete
            or self._store.exists(layout.checkpoint_complete(self._job, step))
        }
        return tuple(sorted(self._complete))


class LogTail:
    """The last lines of a log that are not blank.

    The pieces of a line are joined; one that was redrawn (`\\r`) is what it was last.
    """

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=LOG_LINES)
        self._open: dict[tuple[int, str], bytes] = {}

    def add(self, line: Line) -> None:
        """Take the next line, or a piece of one."""
        node, record = line.stream.node, line.record
        source = (node, record.stream)
        text = self._open.get(source, b"") + record.text
        if not record.ends_line:
            self._open[source] = text[-LINE_CHARS_MAX:]
            return
        self._open.pop(source, None)
        if shown := readable(text):
            self._lines.append(LogLine(node, shown, record.stream == "system"))

    def lines(self) -> tuple[LogLine, ...]:
        """Return the lines, those that are not finished last."""
        begun = ((node, readable(text)) for (node, _), text in self._open.items())
        return (*self._lines, *(LogLine(node, text) for node, text in begun if text))


def readable(text: bytes) -> str:
    """Return what a terminal would show of a line, without what could upset one."""
    plain = ESCAPES.sub("", text[-LINE_CHARS_MAX * 4 :].decode(errors="replace"))
    redrawn = plain.rstrip("\r").rpartition("\r")[2].expandtabs()
    return "".join(each for each in redrawn if each.isprintable()).rstrip()[:LINE_CHARS_MAX]
