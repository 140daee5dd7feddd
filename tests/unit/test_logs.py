"""A job's log as readers see it: every line once, from all nodes, from any point on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.checkpoints import Clock

from llmcloud.core.errors import UsageError
from llmcloud.core.follow import Ending, follow, wait_for_end
from llmcloud.core.logs import LogReader
from llmcloud.runtime import heartbeat, layout, segments
from llmcloud.runtime.heartbeat import Heartbeat, Phase
from llmcloud.runtime.records import Record
from llmcloud.runtime.segments import SegmentWriter
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = "j-1"


class Nodes:
    """The writers of a job's log; each line has the time of its number."""

    def __init__(self, folder: Path) -> None:
        self.store = FileStore(folder / "store")
        self.store.create()
        self._folder, self._writers = folder, dict[tuple[int, int], SegmentWriter]()
        self.written: list[bytes] = []

    def write(self, text: str, node: int = 0, attempt: int = 1) -> None:
        if (attempt, node) not in self._writers:
            prefix = layout.stream(JOB, "logs", attempt, node)
            spool = self._folder / f"{attempt}-{node}"
            self._writers[attempt, node] = SegmentWriter(self.store, prefix, spool)
        writer = self._writers[attempt, node]
        at_ms = 1_795_300_000_000 + len(self.written)
        writer.append(Record(at_ms, "stdout", text.encode()).encode())
        writer.flush()
        self.written.append(text.encode())

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 100)
    made = Nodes(tmp_path)
    yield made
    made.close()


def texts(reader: LogReader) -> list[bytes]:
    return [line.record.text for line in reader.poll()]


def test_lines_of_all_nodes_come_in_the_order_of_their_time(nodes: Nodes) -> None:
    for number in range(40):
        nodes.write(f"line {number}", node=number * 7 % 3)
    assert texts(LogReader(nodes.store, JOB)) == nodes.written


def test_attempts_come_one_after_the_other(nodes: Nodes) -> None:
    """A late line of the first, too: its node's clock may be wrong."""
    nodes.write("second", attempt=2)
    nodes.write("first", attempt=1)
    assert texts(LogReader(nodes.store, JOB)) == [b"first", b"second"]


def test_only_the_nodes_that_were_asked_for_are_read(nodes: Nodes) -> None:
    for node in range(3):
        nodes.write(f"of {node}", node=node)
    assert texts(LogReader(nodes.store, JOB, nodes=[0, 2])) == [b"of 0", b"of 2"]


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40))
def test_a_cursor_goes_on_exactly_where_it_was_taken(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]]
) -> None:
    """A reader that is thrown away at any line, with others written meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_BYTES", 60)
        nodes = Nodes(tmp_path_factory.mktemp("nodes"))
        seen: list[bytes] = []
        cursor = ""
        for number, (node, is_thrown_away) in enumerate(steps):
            nodes.write(f"line {number}", node=node)
            reader = LogReader(nodes.store, JOB, cursor=cursor)
            for count, line in enumerate(reader.poll()):
                seen.append(line.record.text)
                cursor = reader.cursor()
                if is_thrown_away and count:
                    break
        seen += texts(LogReader(nodes.store, JOB, cursor=cursor))
        assert sorted(seen) == sorted(nodes.written)
        nodes.close()


@given(st.text())
def test_what_is_no_cursor_is_refused(
    tmp_path_factory: pytest.TempPathFactory, cursor: str
) -> None:
    if cursor:
        with pytest.raises(UsageError):
            LogReader(FileStore(tmp_path_factory.getbasetemp()), JOB, cursor=cursor)


@pytest.mark.parametrize("lines", [0, 1, 5, 50, 500])
def test_a_tail_begins_early_enough_and_not_at_the_beginning(nodes: Nodes, lines: int) -> None:
    for number in range(200):
        nodes.write(f"line {number}", node=number % 2)
    reader = LogReader(nodes.store, JOB)
    reader.skip_to_tail(lines)
    found = texts(reader)
    assert found[len(found) - lines :] == nodes.written[max(0, 200 - lines) :] or lines > len(found)
    assert len(found) >= min(lines, 200)
    assert len(found) < 200 or lines > 50


def test_each_line_of_a_tail_has_the_cursor_after_it(nodes: Nodes) -> None:
    for number in range(20):
        nodes.write(f"line {number}", node=number % 2)
    reader = LogReader(nodes.store, JOB)
    reader.skip_to_tail(5)
    for number, line in enumerate(reader.last(reader.poll(), 5), start=15):
        rest = texts(LogReader(nodes.store, JOB, cursor=reader.cursor()))
        assert [line.record.text, *rest] == nodes.written[number:]
    assert texts(reader) == []


def test_following_ends_after_all_that_was_shipped_before_the_end(nodes: Nodes) -> None:
    """The end is asked for before the lines are read, so that none comes in between."""
    asked: list[bool] = []

    def over() -> bool:
        asked.append(len(asked) == 3)
        if asked[-1]:
            nodes.write("the last one")
        return asked[-1]

    def wait(_: float) -> None:
        nodes.write("another")

    lines = list(follow(LogReader(nodes.store, JOB), over, lambda: None, wait))
    assert [line.record.text for line in lines] == nodes.written
    assert nodes.written[-1] == b"the last one"


def status(state: State) -> Status:
    return Status(JOB, "j", "local", "vm", None, state, "2026-01-01T00:00:00.000Z")


def test_a_job_has_ended_when_its_nodes_have_shipped_all_or_take_too_long(nodes: Nodes) -> None:
    clock, now = Clock(), status(State.RUNNING)
    ending = Ending(nodes.store, JOB, lambda: now, clock)
    beat = Heartbeat(0, "worker", "i", "t", phase=Phase.SAVING)
    heartbeat.write(nodes.store, JOB, 1, beat)
    assert not ending()
    now = status(State.SUCCEEDED)
    assert not ending()
    clock.now += 3600
    assert ending()
    again = Ending(nodes.store, JOB, lambda: now, clock)
    assert not again()
    heartbeat.write(nodes.store, JOB, 1, Heartbeat(0, "worker", "i", "t", phase=Phase.ENDED))
    assert again()


def test_a_lost_job_is_not_waited_for(nodes: Nodes) -> None:
    heartbeat.write(nodes.store, JOB, 1, Heartbeat(0, "worker", "i", "t", phase=Phase.RUNNING))
    assert Ending(nodes.store, JOB, lambda: status(State.LOST), Clock())()


def test_a_wait_gives_up_when_its_time_is_over() -> None:
    clock = Clock()
    seen: list[State] = []
    tell = lambda each: seen.append(each.state)  # noqa: E731
    found = wait_for_end(lambda: status(State.RUNNING), 60.0, tell, clock, clock.sleep)
    assert found.state is State.RUNNING
    assert set(seen) == {State.RUNNING}
    assert 60 <= clock.now - 1000 < 62
    found = wait_for_end(lambda: status(State.FAILED), None, tell, clock, clock.sleep)
    assert found.state is State.FAILED
