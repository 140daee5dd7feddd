"""HF Trainer's trainer_state.json and Lightning's metrics.csv."""

from __future__ import annotations

import csv
import json
import os
from typing import TYPE_CHECKING

from llmcloud.runtime.metrics.metric import Reading, canonical
from llmcloud.runtime.metrics.words import STEP_NAMES, number

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    Entry = tuple[int | None, frozenset[tuple[str, float]]]

FILE_BYTES_MAX = 64 << 20
CHUNK_BYTES = 4 << 20


class TrainerState:
    """The log history that each checkpoint of HF Trainer holds from the first step on.

    `earlier` are entries that an earlier run made: a training that was resumed repeats them.
    """

    trust = 1

    def __init__(self, path: Path, earlier: Container[Entry] = ()) -> None:
        self._path = path
        self._earlier = earlier
        self._read_at: tuple[int, int] | None = None
        self._last_step = -1

    def poll(self) -> list[Reading]:
        """Return the entries since the last call; a half-written file is read the next time."""
        try:
            stat = self._path.stat()
            version = stat.st_mtime_ns, stat.st_size
            if version == self._read_at or stat.st_size > FILE_BYTES_MAX:
                return []
            state = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return []
        self._read_at = version
        history = state.get("log_history") if isinstance(state, dict) else None
        total = _count(state.get("max_steps")) if history else None
        found = [
            reading
            for entry in (history if isinstance(history, list) else [])
            if (reading := _entry(entry, total, stat.st_mtime)) is not None
        ]
        new = [
            each
            for each in found
            if (each.step or 0) >= self._last_step and entry_of(each) not in self._earlier
        ]
        self._last_step = max([self._last_step, *(each.step or 0 for each in new)])
        return new


def entry_of(reading: Reading) -> Entry:
    """Return what tells one entry of a history from all others."""
    return reading.step, frozenset(reading.values.items())


class MetricsCsv:
    """The table of Lightning's CSVLogger, which is written anew when a column comes up."""

    trust = 1

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._header: bytes = b""

    def poll(self) -> list[Reading]:
        """Return the whole rows since the last call."""
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                header = file.readline(CHUNK_BYTES)
                if not header.endswith(b"\n"):
                    return []
                if header != self._header or size < self._offset:
                    self._header, self._offset = header, len(header)
                file.seek(self._offset)
                chunk = file.read(CHUNK_BYTES)
                at_s = os.fstat(file.fileno()).st_mtime
        except OSError:
            return []
        chunk = chunk[: chunk.rfind(b"\n") + 1]
        self._offset += len(chunk)
        return _rows(self._header, chunk, at_s)


def _entry(entry: object, total: int | None, at_s: float) -> Reading | None:
    if not isinstance(entry, dict):
        return None
    step = _count(entry.get("step"))
    values = {
        canonical(name): float(value)
        for name, value in entry.items()
        if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    return None if step is None else Reading(step, values, total, at_s)


def _rows(header: bytes, chunk: bytes, at_s: float) -> list[Reading]:
    lines = (header + chunk).decode(errors="replace").splitlines()
    found = []
    try:
        for row in csv.DictReader(lines):
            cells = {canonical(name): number(text) for name, text in row.items() if name and text}
            values = {name: value for name, value in cells.items() if value is not None}
            steps = [int(values.pop(name)) for name in STEP_NAMES & values.keys()]
            if steps and values:
                found.append(Reading(steps[0], values, at_s=at_s))
    except (csv.Error, ValueError, OverflowError):
        return found
    return found


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
