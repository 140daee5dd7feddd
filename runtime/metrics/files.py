"""Finds the files that trainings write their metrics to, and follows them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llmcloud.runtime.metrics.events import EventFile
from llmcloud.runtime.metrics.trainer_state import MetricsCsv, TrainerState, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmcloud.runtime.metrics.metric import Reading
    from llmcloud.runtime.metrics.trainer_state import Entry

DEPTH_MAX = 6
ENTRIES_MAX = 50_000
FILES_MAX = 200
# Looking takes at most one part in twenty of the time.
LOOK_SHARE = 20
LOOK_INTERVAL_S = 1.0
PASSED_OVER = {"node_modules", "site-packages", "__pycache__", "venv", "env"}


class Source(Protocol):
    """A file that grows or is replaced."""

    trust: int

    def poll(self) -> list[Reading]:
        """Return what is new."""


class Folders:
    """The metrics files under some folders, newly made ones included."""

    def __init__(
        self, folders: Iterable[Path], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folders = list(folders)
        self._clock = clock
        self._sources: dict[str, Source] = {}
        self._found: set[str] = set()
        self._next_look = 0.0
        self._earlier: set[Entry] = set()
        for source in self._look():  # an earlier run's
            self._earlier.update(entry_of(each) for each in source.poll())

    def poll(self) -> Iterator[tuple[int, list[Reading]]]:
        """Yield what each source has that is new, and how far it is trusted."""
        if self._folders and self._clock() >= self._next_look:
            list(self._look())
        for source in list(self._sources.values()):
            yield source.trust, source.poll()

    def _look(self) -> Iterator[Source]:
        start = self._clock()
        for folder in self._folders:
            for path in _metrics_files(folder):
                if path not in self._found and (source := self._source(Path(path))):
                    self._found.add(path)
                    self._sources[path] = source
                    yield source
        while len(self._sources) > FILES_MAX:
            del self._sources[self._least_useful()]
        took_s = self._clock() - start
        self._next_look = start + max(LOOK_INTERVAL_S, took_s * LOOK_SHARE)

    def _source(self, path: Path) -> Source | None:
        if path.name == "trainer_state.json":
            return TrainerState(path, self._earlier)
        if path.name == "metrics.csv":
            return MetricsCsv(path)
        return EventFile(path) if ".tfevents." in path.name else None

    def _least_useful(self) -> str:
        """Return the oldest checkpoint's file, as each newer one says the same and more."""
        states = (path for path, source in self._sources.items() if type(source) is TrainerState)
        return next(states, next(iter(self._sources)))


def _metrics_files(folder: Path) -> Iterator[str]:
    """Yield the paths that may hold metrics; a folder that is too big is looked at in part."""
    entries = 0
    level = [str(folder)]
    for _ in range(DEPTH_MAX):
        below: list[str] = []
        for each in level:
            try:
                found = sorted(os.scandir(each), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in found:
                entries += 1
                if entries > ENTRIES_MAX:
                    return
                if entry.is_dir(follow_symlinks=False):
                    if entry.name[0] != "." and entry.name not in PASSED_OVER:
                        below.append(entry.path)
                elif entry.name in ("trainer_state.json", "metrics.csv") or (
                    ".tfevents." in entry.name
                ):
                    yield entry.path
        level = below
