"""The parts of a transfer that touch neither disk nor network: digests, threads, pace, rate."""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.core.transfer import pool as pools
from llmcloud.core.transfer import retry
from llmcloud.core.transfer.crc32c import combined, crc32c
from llmcloud.core.transfer.errors import PartlyFailed
from llmcloud.core.transfer.meter import Meter, RateLimit
from llmcloud.core.transfer.pool import BUSY, LOOK_S, WAITING, Load, Pace, Pool, Stopped
from llmcloud.runtime.errors import Failure, Throttled, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 30.0
MIB = 1 << 20


class TestADigest:
    def test_is_crc_32c(self) -> None:
        """By RFC 3720, B.4, and the check value of the catalogue of CRCs."""
        assert crc32c(b"123456789") == 0xE3069283
        assert crc32c(bytes(32)) == 0x8A9136AA
        assert crc32c(b"\xff" * 32) == 0x62A8AB43

    @given(parts=st.lists(st.binary(max_size=300), max_size=6))
    def test_of_the_whole_comes_of_its_parts(self, parts: list[bytes]) -> None:
        whole = b"".join(parts)
        assert combined((crc32c(part), len(part)) for part in parts) == crc32c(whole)

    @given(size=st.integers(0, 3 * MIB))
    def test_of_large_parts_does_as_well(self, size: int) -> None:
        zeros, tail = bytes(size), b"tail"
        parts = [(crc32c(tail), 4), (crc32c(zeros), size), (crc32c(tail), 4)]
        assert combined(parts) == crc32c(tail + zeros + tail)

    @given(data=st.binary(max_size=300), at=st.integers(0, 300))
    def test_can_be_taken_piece_by_piece(self, data: bytes, at: int) -> None:
        assert crc32c(data[at:], crc32c(data[:at])) == crc32c(data)


class TestAPool:
    def test_does_all_that_it_is_given(self) -> None:
        """In each of its lanes."""
        done: list[int] = []
        pool = Pool(4, 2)
        with pool.running():
            for number in range(500):
                pool.add(lambda number=number: done.append(number), number % 2)  # type: ignore[misc]
        assert sorted(done) == list(range(500))

    def test_has_no_more_threads_than_it_may(self) -> None:
        """And none without work."""
        before = threading.active_count()
        most: list[int] = []
        pool = Pool(3, 2)
        with pool.running():
            pass
        assert [lane.started for lane in pool._lanes] == [0, 0]
        pool = Pool(3, 2)
        assert threading.active_count() == before
        with pool.running():
            for number in range(200):
                pool.add(lambda: most.append(threading.active_count()), number % 2)
        assert max(most) - before <= 5

    def test_has_as_many_as_it_may_where_they_wait(self) -> None:
        """…for answers from far away."""
        together = threading.Barrier(16)
        pool = Pool(16, few=[1])
        with pool.running():
            for _ in range(16 + 16 * WAITING):
                pool.add(lambda: together.wait(DEADLINE_S) and None)
        assert not together.broken

    def test_takes_more_also_when_all_is_handed_over(self) -> None:
        """…as a few hundred files are at once."""
        together = threading.Barrier(8)
        pool = Pool(16, few=[1])
        with pool.running():
            for _ in range(8):
                pool.add(lambda: together.wait(DEADLINE_S) and None)
        assert not together.broken

    def test_has_few_where_they_keep_the_machine_busy(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """…as more would only take turns."""
        monkeypatch.setattr(pools.Load, "is_low", lambda _: False)
        who: set[int] = set()
        pool = Pool(16, few=[2])
        with pool.running():
            for _ in range(500):
                pool.add(lambda: who.add(threading.get_ident()))
        assert 0 < len(who) <= 2

    def test_looks_a_while_before_it_takes_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = {"monotonic": 0.0, "process_time": 0.0}
        for name in clock:
            monkeypatch.setattr(pools.time, name, functools.partial(clock.__getitem__, name))
        load = Load()
        assert not load.is_low()
        clock["monotonic"] += LOOK_S
        assert load.is_low()
        assert not load.is_low()
        clock["monotonic"] += LOOK_S
        clock["process_time"] += LOOK_S * BUSY
        assert not load.is_low()

    def test_lets_nobody_add_more_than_waits_for_its_threads(self) -> None:
        go_on = threading.Event()
        added: list[int] = []
        pool = Pool(2)

        def fill() -> None:
            with pool.running():
                for number in range(50):
                    pool.add(lambda: go_on.wait(DEADLINE_S) and None)
                    added.append(number)

        filling = threading.Thread(target=fill)
        filling.start()
        most = 2 + 2 * WAITING  # under way, and waiting
        eventually(lambda: len(added) >= most)
        assert len(added) == most
        go_on.set()
        filling.join(DEADLINE_S)
        assert len(added) == 50

    def test_stops_at_the_first_failure_and_raises_it(self) -> None:
        """What waited is not begun."""
        begun: list[int] = []
        pool = Pool(2)

        def work(number: int) -> None:
            begun.append(number)
            if number == 3:
                raise Failure("full")
            if number > 3:
                pool.stopped.wait(DEADLINE_S)

        def fill() -> None:
            with pool.running():
                for number in range(1000):
                    pool.add(lambda number=number: work(number))  # type: ignore[misc]

        with pytest.raises(Failure, match="full"):
            fill()
        assert len(begun) < 10

    def test_is_stopped_by_an_interruption_of_who_fills_it(self) -> None:
        """At once, though a thread hangs in a request that hears nothing."""
        hanging, go_on = threading.Event(), threading.Event()

        def hang() -> None:
            hanging.set()
            go_on.wait(DEADLINE_S)

        def fill() -> None:
            with pool.running():
                pool.add(hang)
                assert hanging.wait(DEADLINE_S)
                raise KeyboardInterrupt

        pool = Pool(2)
        try:
            with pytest.raises(KeyboardInterrupt):
                fill()
            assert pool.stopped.is_set()
            working = [each for each in threading.enumerate() if "_work" in each.name]
            assert working
            assert all(each.daemon for each in working)
            with pytest.raises(Stopped):
                pool.add(hang)
        finally:
            go_on.set()

    def test_ends_also_while_its_threads_rest(self) -> None:
        done: list[int] = []
        pool = Pool(8)
        pool.pace.limit = 1.0
        with pool.running():
            for number in range(40):
                pool.add(lambda number=number: done.append(number))  # type: ignore[misc]
        assert sorted(done) == list(range(40))


class TestThePace:
    def test_halves_once_for_all_that_failed_together(self) -> None:
        pace = Pace(16)
        begun_at = time.monotonic()
        for _ in range(5):
            pace.went_badly(begun_at)
        assert pace.limit == 8
        pace.went_badly(time.monotonic())
        assert pace.limit == 4

    def test_never_stops_nor_goes_beyond_the_most(self) -> None:
        pace = Pace(16)
        for _ in range(20):
            pace.went_badly(time.monotonic())
        assert pace.limit == 1
        assert not pace.rests(0.0)
        for _ in range(1000):
            pace.went_well()
        assert pace.limit == 16

    def test_grows_by_about_one_when_as_many_went_well(self) -> None:
        pace = Pace(16)
        pace.went_badly(time.monotonic())
        for _ in range(8):
            pace.went_well()
        assert 8.9 < pace.limit <= 9

    @pytest.mark.parametrize(("limit", "working"), [(16, 16), (8, 8), (4.5, 5), (1, 1)])
    def test_lets_so_many_threads_of_a_lane_work(
        self, monkeypatch: pytest.MonkeyPatch, limit: float, working: int
    ) -> None:
        monkeypatch.setattr(pools, "REST_S", 0)
        pace = Pace(16)
        pace.limit = limit
        assert [pace.rests(rank / 16) for rank in range(16)].count(False) == working
        pace.is_over = True
        assert not any(pace.rests(rank / 16) for rank in range(16))


class Clock(threading.Event):
    """Time that passes only while someone waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


class TestARateLimit:
    @given(sizes=st.lists(st.integers(0, 10_000), max_size=30), rate=st.integers(1, 5000))
    def test_lets_bytes_pass_at_its_rate(self, sizes: list[int], rate: int) -> None:
        """The last may be under way when its turn has come."""
        clock = Clock()
        limit = RateLimit(rate, lambda: clock.now)
        for size in sizes:
            limit.take(size, clock)
        assert clock.now - 100 == pytest.approx(sum(sizes[:-1]) / rate)

    def test_saves_up_nothing_for_later(self) -> None:
        clock = Clock()
        limit = RateLimit(10, lambda: clock.now)
        clock.now += 1000
        limit.take(10, clock)
        limit.take(10, clock)
        assert clock.now == 1101

    def test_holds_nobody_who_is_stopped(self) -> None:
        stopped = threading.Event()
        stopped.set()
        limit = RateLimit(0.001)
        with pytest.raises(Stopped):
            limit.take(1000, stopped)

    def test_of_nothing_is_none(self) -> None:
        clock = Clock()
        RateLimit().take(1 << 60, clock)
        assert clock.now == 100


class TestAnotherTry:
    """…comes after a while, which grows, or when the service asks for it."""

    @pytest.mark.parametrize(("asked_s", "low", "high"), [(0, 0.2, 0.4), (7, 7, 7), (1e9, 60, 60)])
    def test_waits_as_long_as_the_service_asks_but_not_for_ever(
        self, asked_s: float, low: float, high: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pool, waits, answers = Pool(1), [], [Throttled("slow"), None]
        monkeypatch.setattr(pool.stopped, "wait", waits.append)

        def request() -> str:
            if failure := answers.pop(0):
                failure.asked_wait_s = asked_s
                raise failure
            return "done"

        assert retry.tried(pool, request) == "done"
        (waited,) = waits
        assert low <= waited <= high


def test_a_meter_takes_back_what_proved_to_be_unchanged() -> None:
    meter = Meter()
    meter.plan(5)
    meter.plan(7)
    meter.add(5, 1)
    meter.forget(7)
    assert (meter.bytes_done, meter.bytes_total) == (5, 5)
    assert (meter.files_done, meter.files_total, meter.unchanged) == (1, 1, 1)


@pytest.mark.parametrize(("count", "more"), [(1, ""), (20, ""), (21, "… and 1 more")])
def test_a_failure_names_some_and_says_how_many_more(count: int, more: str) -> None:
    failed = {f"{number:02}": Unavailable("gone") for number in range(count)}
    found = PartlyFailed(failed, 3, "s3://b")
    assert found.what.startswith(f"{count} file")
    assert found.what.count(": gone") == min(count, 20)
    assert more in found.what
    assert len(found.failed) == count


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
