"""What a node tells of its run goes to the store, and so does what it can't do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.core.logs import LogReader
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.task import MetricPattern, Task
from llmcloud.runtime.telemetry import Telemetry

if TYPE_CHECKING:
    from pathlib import Path


def test_a_pattern_that_was_given_up_is_told_once(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    store.create()
    task = Task("a-1", "a", "true", metrics=(MetricPattern("speed", "speed=([0-9.]+)"),))
    telemetry = Telemetry(store, task, (1, 0), tmp_path / "work", {})
    telemetry.read_metrics([])
    telemetry._collector._stdout.patterns[0].gave_up = True
    telemetry._read_metrics()
    with telemetry:
        telemetry.capture.feed("stdout", b"speed=3\n")
    telemetry.close()
    printed = [line.record.text for line in LogReader(store, "a-1").poll()]
    assert sorted(printed) == [
        b"The pattern of the metric speed is too slow and was given up.",
        b"speed=3",
    ]
