"""`llmcloud watch`: what it reads, and what it prints where there is no terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig import snapshots

from llmcloud.cli import watch
from llmcloud.core import listing
from llmcloud.core.errors import UsageError
from llmcloud.core.job import View
from llmcloud.core.logs import Line, Stream
from llmcloud.core.watch import LogLine, LogTail, Snapshot, Watcher, readable
from llmcloud.runtime import heartbeat, layout, status
from llmcloud.runtime.errors import StoreGone, Unavailable
from llmcloud.runtime.heartbeat import Heartbeat, Phase
from llmcloud.runtime.metrics.metric import Metric
from llmcloud.runtime.metrics.progress import Progress
from llmcloud.runtime.records import Record
from llmcloud.runtime.segments import Position
from llmcloud.runtime.status import State
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmcloud.core.provider import Compute

JOB = "gpt2-k3m9pa"


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Return a store with a job in it that has just been submitted."""
    made = FileStore(tmp_path / "store")
    made.create()
    snapshots.put_job(made, snapshots.submitted().view.status)
    return made


def watcher(store: FileStore, clock: Callable[[], float] = lambda: 0.0) -> Watcher:
    def observe() -> View:
        return View(status.read(store, JOB), [], heartbeat.read_all(store, JOB, 1))

    return Watcher(store, JOB, observe, clock)


def log(store: FileStore, *records: Record) -> None:
    key = layout.segment(layout.stream(JOB, "logs", 1, 0), 0)
    store.put(key, b"".join(record.encode() for record in records))


def end(store: FileStore, state: State) -> None:
    def ended(now: status.Status) -> status.Status:
        return replace(now, state=state, ended_at="2026-11-21T10:31:00.000Z")

    status.change(store, JOB, ended)


def test_a_job_that_has_not_started_is_seen(store: FileStore) -> None:
    seen = watcher(store, lambda: 7.0).look()
    assert (seen.at_s, seen.view.status.state, seen.is_over) == (7.0, State.STAGING, False)
    assert (seen.loss, seen.log, seen.checkpoints) == ((), (), ())


def test_each_look_adds_what_is_new(store: FileStore) -> None:
    watching = watcher(store)
    metrics = layout.segment(layout.stream(JOB, "metrics", 1, 0), 0)
    lines = [
        Metric(f"2026-11-21T10:30:0{step}.000Z", step, {"loss": 9.0 - step}, 8).to_json()
        for step in range(3)
    ]
    store.put(metrics, (lines[0] + "\n").encode())
    log(store, Record(1795300000123, "stdout", b"one"))
    first = watching.look()
    store.put(metrics, "".join(line + "\n" for line in lines).encode())
    log(
        store,
        Record(1795300000123, "stdout", b"one"),
        Record(1795300000124, "system", b"two"),
    )
    store.put(layout.checkpoint_complete(JOB, 2), b"{}")
    store.put(layout.checkpoint(JOB, 3) + "half-way.npz", b"")
    second = watching.look()
    assert first.loss == ((0, 9.0),)
    assert second.loss == ((0, 9.0), (1, 8.0), (2, 7.0))
    assert (second.progress.step, second.progress.total) == (2, 8)
    assert second.log == (LogLine(0, "one"), LogLine(0, "two", is_system=True))
    assert second.checkpoints == (2,)


def test_a_job_is_over_once_its_nodes_have_shipped_all(store: FileStore) -> None:
    """Its end alone is not enough: the log may still be on its way."""
    watching = watcher(store)
    beat = Heartbeat(0, "worker", "x", "2026-11-21T10:30:00.000Z", Phase.SAVING)
    heartbeat.write(store, JOB, 1, beat)
    end(store, State.SUCCEEDED)
    assert not watching.look().is_over
    heartbeat.write(store, JOB, 1, replace(beat, phase=Phase.ENDED))
    log(store, Record(1795300000123, "stdout", b"the last line"))
    seen = watching.look()
    assert seen.is_over
    assert seen.log == (LogLine(0, "the last line"),)


@pytest.mark.parametrize("state", [State.LOST, State.CANCELLED, State.FAILED, State.SUCCEEDED])
def test_an_ended_job_is_seen_at_once(store: FileStore, state: State) -> None:
    end(store, state)
    assert watcher(store).look().is_over


class Collecting:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[Snapshot, str]] = []
        self.waited_s = 0.0

    def show(self, seen: Snapshot, note: str) -> None:
        self.shown.append((seen, note))

    def wait(self, seconds: float) -> None:
        self.waited_s += seconds


def test_a_store_that_is_away_for_a_while_is_waited_for() -> None:
    """The last picture stays, and says what is wrong."""
    last = replace(snapshots.running(), is_over=True)
    answers = iter([snapshots.running(), Unavailable("The disk is slow."), last])

    def look() -> Snapshot:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    show = Collecting()
    assert watch.until_over(look, show) is last
    assert [note for _, note in show.shown] == ["", "The disk is slow.", ""]
    assert show.shown[1][0].progress.step == 6000
    assert show.waited_s == 2.0


def test_a_store_that_is_gone_ends_the_watch() -> None:
    answers = iter([snapshots.running()])

    def look() -> Snapshot:
        for answer in answers:
            return answer
        raise StoreGone("There is no store here (any more).")

    with pytest.raises(StoreGone):
        watch.until_over(look, Collecting())


def test_without_a_terminal_each_change_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = watch.PlainLines()
    seen = snapshots.running()
    for each in (
        snapshots.submitted(),
        seen,
        replace(seen, at_s=seen.at_s + 1),
        snapshots.failed(),
    ):
        lines.show(each, "")
    trained = "attempt 2  step 6000/10000  loss 3.041  eval_loss 3.2  lr 0.00023  412k tok/s"
    assert capsys.readouterr().out.splitlines() == [
        "staging  attempt 1",
        f"running  {trained}  1h 21m left",
        f"failed  {trained}",
    ]


def test_json_is_one_object_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    """That a running job costs more is no change."""
    lines = watch.JsonLines()
    seen = snapshots.running()
    for each in (seen, replace(seen, at_s=seen.at_s + 60), snapshots.failed()):
        lines.show(each, "")
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["job"], first["state"], second["state"]) == (JOB, "running", "failed")
    assert first["metrics"]["loss"] == 3.0412
    assert first["progress"] == {
        "step": 6000,
        "total": 10000,
        "steps_per_s": 0.82,
        "tokens_per_s": 412345.0,
        "remaining_s": 4878.0,
    }
    assert first["checkpoints"] == [5000, 5500, 6000]
    assert first["nodes"][1]["usage"]["cpu_percent"] == 41.3


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    """A loss that diverged is a string, as everywhere."""
    values = {"loss": float("nan"), "tok_s": float("inf")}
    diverged = replace(
        snapshots.running(), progress=Progress(1, None, values, None, values["tok_s"])
    )
    watch.JsonLines().show(diverged, "")
    out = capsys.readouterr().out
    document = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert document["metrics"]["loss"] == "NaN"
    assert document["progress"]["tokens_per_s"] == "Infinity"


def line(text: bytes, *, ends_line: bool = True, node: int = 0) -> Line:
    return Line(Stream(1, node), Record(0, "stdout", text, ends_line), Position())


def test_the_pieces_of_a_line_are_joined() -> None:
    """A progress bar is what it was last; pieces of two nodes do not mix."""
    tail = LogTail()
    tail.add(line(b"  0%\r", ends_line=False))
    tail.add(line(b"other", ends_line=False, node=1))
    tail.add(line(b" 50%\r", ends_line=False))
    assert tail.lines() == (LogLine(0, " 50%"), LogLine(1, "other"))
    tail.add(line(b"100%"))
    assert tail.lines() == (LogLine(0, "100%"), LogLine(1, "other"))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[1;31mred\x1b[0m and \x1b]0;title\x07plain", "red and plain"),
        (b"a\tb\x00\x08\x7f", "a       b"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"\x1b[2J\x1b[H\x1b(B\x1b7", ""),
        (b"old\rnew\r", "new"),
    ],
)
def test_a_line_cannot_upset_the_terminal(raw: bytes, shown: str) -> None:
    assert readable(raw) == shown


@given(st.binary(max_size=3000))
def test_whatever_was_printed_is_one_short_printable_line(raw: bytes) -> None:
    shown = readable(raw)
    assert shown.isprintable()
    assert len(shown) <= 1000


def test_a_list_tells_what_the_nodes_of_a_job_do_before_it_trains(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    store.create()
    now = snapshots.starting().view.status
    snapshots.put_job(store, now)
    (listed,) = listing.find([store], no_provider)
    assert listed.stage() == "provisioning"
    for rank, phase in enumerate([Phase.READY, Phase.SETUP]):
        heartbeat.write(store, now.job, 1, Heartbeat(rank, "worker", "x", snapshots.AT, phase))
    assert listed.stage() == "setup"
    store.delete(layout.job_document(now.job))  # gc is at work
    assert listed.stage() == "provisioning"


def no_provider(name: str) -> Compute:
    raise UsageError(f"{name} is not installed here")
