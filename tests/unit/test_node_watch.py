"""What makes a node stop: with a clock that the test moves."""

from __future__ import annotations

import dataclasses
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.rig.checkpoints import Clock

from llmcloud.runtime import heartbeat, layout, node, status
from llmcloud.runtime.heartbeat import INTERVAL_S, Heartbeat, Outcome, Phase
from llmcloud.runtime.seat import Seat
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.supervise import Reason, Stop
from llmcloud.runtime.task import Task
from llmcloud.runtime.watch import LEADERLESS_S, STALE_S, STORE_GONE_S, Peers, Watch, Watched

if TYPE_CHECKING:
    from pathlib import Path

JOB = "j-1"


class Rig:
    """A job of three nodes, and the watch of one of them."""

    def __init__(self, folder: Path, rank: int = 0, expires_in_s: float | None = None) -> None:
        self.store = FileStore(folder / "store")
        self.store.create()
        self.clock = Clock()
        self.stop = Stop()
        self.beats = 0
        status.begin(self.store, Status(JOB, "j", "local", "vm", None, State.RUNNING, status.now()))
        expires_at_s = None if expires_in_s is None else self.clock() + expires_in_s
        self.watched = Watched(
            self.store, Task(JOB, "j", "true", roles=("worker",) * 3), 1, rank, expires_at_s
        )
        self.said: list[str] = []
        self.watch = Watch(self.watched, self.stop, self._beat, self.said.append, self.clock)

    def _beat(self) -> None:
        self.beats += 1

    def say(self, rank: int, at: str = "2026-01-01T00:00:00.000Z", **changes: object) -> None:
        beat = Heartbeat(rank, "worker", "i", at, phase=Phase.RUNNING)
        heartbeat.write(self.store, JOB, 1, dataclasses.replace(beat, **changes))  # type: ignore[arg-type]

    def look(self, after_s: float = 1.0) -> Reason | None:
        self.clock.now += after_s
        self.watch.look()
        return self.stop.reason

    def look_for(self, seconds: float, *, speaking: tuple[int, ...] = ()) -> Reason | None:
        for second in range(int(seconds)):
            for rank in speaking:
                self.say(rank, at=str(second))
            self.look()
        return self.stop.reason


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_nothing_happens_for_long_and_the_node_says_so_now_and_then(rig: Rig) -> None:
    assert rig.look_for(300, speaking=(1, 2)) is None
    assert 300 / INTERVAL_S - 2 <= rig.beats <= 300 / INTERVAL_S


def test_a_cancel_stops_it(rig: Rig) -> None:
    rig.store.put(layout.cancel(JOB), b"")
    assert rig.look() is Reason.CANCELLED


def test_it_expires_by_its_own_clock(tmp_path: Path) -> None:
    """However the time of day jumps: only the monotonic clock is read."""
    rig = Rig(tmp_path, expires_in_s=100)
    assert rig.look(99) is None
    assert rig.look(1) is Reason.EXPIRED


def test_the_first_reason_stands(rig: Rig) -> None:
    rig.store.put(layout.cancel(JOB), b"")
    rig.look()
    rig.stop.ask(Reason.EXPIRED)
    assert rig.stop.reason is Reason.CANCELLED


@pytest.mark.parametrize("state", [State.FAILED, State.LOST])
def test_a_job_that_has_ended_stops_it(rig: Rig, state: State) -> None:
    status.change(rig.store, JOB, lambda now: dataclasses.replace(now, state=state))
    assert rig.look() is Reason.STOPPED


def test_the_next_attempt_stops_it(rig: Rig) -> None:
    status.change(rig.store, JOB, lambda now: dataclasses.replace(now, attempt=2))
    assert rig.look() is Reason.STOPPED


def test_a_parent_that_is_gone_stops_it(rig: Rig) -> None:
    rig.watch._watched = dataclasses.replace(rig.watched, parent=os.getppid())
    assert rig.look() is None
    rig.watch._watched = dataclasses.replace(rig.watched, parent=os.getppid() + 1)
    assert rig.look() is Reason.ABANDONED


def test_a_store_that_is_gone_for_long_stops_it_and_one_that_comes_back_does_not(
    rig: Rig,
) -> None:
    away = rig.store.root.with_name("away")
    shutil.move(rig.store.root, away)
    for _ in range(int(STORE_GONE_S) - 1):
        assert rig.look() is None
    shutil.move(away, rig.store.root)
    assert rig.look() is None
    shutil.rmtree(rig.store.root)
    assert rig.look() is None
    assert rig.look(STORE_GONE_S + 1) is Reason.STORE_GONE


@pytest.mark.parametrize(("rank", "other", "stops"), [(0, 2, True), (1, 0, True), (1, 2, False)])
def test_node_0_stops_for_any_that_ended_badly_and_the_others_for_node_0(
    tmp_path: Path, rank: int, other: int, stops: bool
) -> None:
    rig = Rig(tmp_path, rank=rank)
    rig.say(other, phase=Phase.ENDED, outcome=Outcome.SUCCEEDED)
    assert rig.look() is None
    rig.say(other, phase=Phase.ENDED, outcome=Outcome.FAILED)
    assert rig.look() is (Reason.STOPPED if stops else None)


def test_without_node_0_the_others_stop_but_not_while_it_boots_or_has_ended(tmp_path: Path) -> None:
    rig = Rig(tmp_path, rank=1)
    assert rig.look_for(LEADERLESS_S + 10) is None
    rig.say(0)
    assert rig.look_for(LEADERLESS_S - 10) is None
    rig.say(0, phase=Phase.ENDED, outcome=Outcome.SUCCEEDED)
    assert rig.look_for(LEADERLESS_S + 10) is None
    rig.say(0)
    rig.look()
    assert rig.look(10 * LEADERLESS_S) is None  # nobody could be heard in that time
    assert rig.look_for(LEADERLESS_S + 10) is Reason.STOPPED


def test_a_node_that_waits_for_node_0_in_vain_ends_the_job_for_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines on demand are not replaced: the others would wait, and cost, for ever."""
    rig = Rig(tmp_path, rank=1)
    rig.say(1, phase=Phase.ENDED, outcome=Outcome.STOPPED)
    monkeypatch.setattr(node, "LEADERLESS_S", -1.0)
    seat = Seat(rig.store, rig.watched.task, 1, tmp_path, tmp_path, "127.0.0.1", "i", None)
    node.Node(seat).run()
    found = status.read(rig.store, JOB)
    assert found.state is State.LOST
    assert found.error
    assert "Node 0" in found.error


def test_a_peer_that_falls_silent_is_lost_but_only_node_0_acts(tmp_path: Path) -> None:
    for rank, expected in ((0, Reason.STOPPED), (1, None)):
        rig = Rig(tmp_path / str(rank), rank=rank)
        rig.say(2)
        assert rig.look_for(STALE_S - 1, speaking=(0, 1)) is None
        assert rig.look_for(3, speaking=(0, 1)) is expected


def test_node_0_says_once_which_node_was_lost_or_failed(rig: Rig) -> None:
    """Not which were only stopped because of it."""
    rig.say(1, phase=Phase.ENDED, outcome=Outcome.LOST)
    rig.look_for(3)
    assert rig.said == ["Node 1 was lost."]
    rig.say(1, phase=Phase.ENDED, outcome=Outcome.STOPPED)
    rig.say(2, phase=Phase.ENDED, outcome=Outcome.FAILED, error="setup failed.")
    rig.look_for(3)
    assert rig.said == ["Node 1 was lost.", "Node 2 failed: setup failed."]


def test_node_0_says_who_fell_silent(tmp_path: Path) -> None:
    """The others leave it to node 0; nobody tells of a node that has not come yet."""
    for rank, expected in ((0, ["Node 2 was lost."]), (1, [])):
        rig = Rig(tmp_path / str(rank), rank=rank)
        rig.look_for(STALE_S + 3, speaking=(0,))
        rig.say(2)
        rig.look_for(STALE_S + 3, speaking=(0,))
        assert rig.said == expected


def test_a_peer_that_never_came_is_waited_for_by_the_meeting_alone(rig: Rig) -> None:
    assert rig.look_for(STALE_S * 2, speaking=(1,)) is None
    assert rig.watch.peers.lost() == [2]


def test_clocks_of_peers_may_jump(rig: Rig) -> None:
    """What they write as the time is compared with nothing."""
    times = ["2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"]
    for number in range(200):
        for rank in (1, 2):
            rig.say(rank, at=times[number % 3])
        assert rig.look() is None


def test_nobody_is_lost_while_this_node_could_not_look(tmp_path: Path) -> None:
    """The store was away, or the machine slept: the peers were not heard, and may be well."""
    rig = Rig(tmp_path)
    peers = Peers(rig.watched, rig.clock)
    for rank in (1, 2):
        rig.say(rank)
    peers.refresh()
    rig.clock.now += 3600
    peers.refresh()
    assert peers.lost() == []
    for _ in range(int(STALE_S) + 1):
        rig.clock.now += 1
        peers.refresh()
    assert peers.lost() == [1, 2]
