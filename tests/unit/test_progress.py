"""What a transfer says where there is no terminal."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from llmcloud.cli import progress
from llmcloud.cli.progress import LINE_S, Lines, bar
from llmcloud.core.transfer.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

MB = 1_000_000


class Waits(threading.Event):
    """Time that passes only while someone waits; before each wait ends, a deed is done."""

    def __init__(self, *deeds: Callable[[], object]) -> None:
        super().__init__()
        self.deeds, self.now, self.asked = list(deeds), 100.0, list[float | None]()

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout)
        if not self.deeds:
            return True
        self.now += timeout or 0.0
        self.deeds.pop(0)()
        return False


def said_of(meter: Meter, *deeds: Callable[[], object]) -> Waits:
    waits = Waits(*deeds)
    Lines("push", meter, lambda: waits.now).say_until(waits)
    assert set(waits.asked) == {LINE_S}
    return waits


@pytest.fixture
def meter() -> Meter:
    found = Meter()
    for _ in range(4):
        found.plan(300 * MB)
    return found


def test_a_long_transfer_says_how_far_it_is(
    meter: Meter, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is done of how much, how fast it was since the last line, and how long it will take."""

    def listed() -> None:
        meter.is_listed = True
        meter.unchanged = 7
        meter.add(600 * MB, 2)

    said_of(meter, lambda: meter.add(300 * MB, 1), listed, lambda: None)
    assert capsys.readouterr().err.splitlines() == [
        "push: 300.0 MB of at least 1.2 GB, 1 of at least 4 files, 10.0 MB/s",
        "push: 900.0 MB of 1.2 GB, 3 of 4 files, 7 unchanged, 20.0 MB/s, 15s left",
        "push: 900.0 MB of 1.2 GB, 3 of 4 files, 7 unchanged, 0 B/s",
    ]


def test_what_has_nothing_to_do_says_that_once(
    meter: Meter, capsys: pytest.CaptureFixture[str]
) -> None:
    """As who watches a job for its next checkpoint."""
    said_of(meter, lambda: meter.add(1200 * MB, 4), *[lambda: None] * 4)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_short_transfer_says_nothing(meter: Meter, capsys: pytest.CaptureFixture[str]) -> None:
    """And one that is told to be quiet neither."""
    assert not said_of(meter).deeds
    with bar("push", meter):
        meter.add(300 * MB, 1)
    with bar("push", meter, quiet=True):
        meter.add(300 * MB, 1)
    assert capsys.readouterr().err == ""


def test_where_there_is_no_terminal_lines_are_said_meanwhile(
    meter: Meter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.001)
    said, deadline = "", time.monotonic() + 30
    with bar("push", meter):
        while not said:
            assert time.monotonic() < deadline
            said = capsys.readouterr().err
    assert said.startswith("push: 0 B of at least 1.2 GB")
