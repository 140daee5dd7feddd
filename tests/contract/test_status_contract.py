"""A job's state on every store: whoever writes, a later state never gives way to an earlier one."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count, pairwise, product
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from tests.rig.workers import Worker, results

from llmcloud.runtime import layout, status
from llmcloud.runtime.errors import Conflict, NotFound, Unreadable
from llmcloud.runtime.status import FINAL, ORDER, State, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rig.stores import StoreRig

    from llmcloud.runtime.store import ObjectStore

POINTS = list(product((1, 2, 3), State))
FRESH_JOBS = count()  # so that examples can share a store


@pytest.fixture(name="store")
def _store(store_rig: StoreRig, tmp_path: Path) -> Iterator[ObjectStore]:
    with store_rig.empty_store(tmp_path) as made:
        yield made


def begin(store: ObjectStore) -> Status:
    first = Status(
        job=f"job-{next(FRESH_JOBS)}",
        name="a",
        provider="local",
        service="vm",
        region=None,
        state=State.SUBMITTED,
        created_at=status.now(),
    )
    status.begin(store, first)
    return first


def place(attempt: int, state: State) -> tuple[int, int]:
    """Return where a point lies in a job's life; the ends of an attempt are all as late."""
    return attempt, len(ORDER) if state in FINAL else ORDER.index(state)


def place_of(found: Status) -> tuple[int, int]:
    return place(found.attempt, found.state)


def test_every_pair_of_points_is_ordered_by_attempt_then_life(store: ObjectStore) -> None:
    """…for all pairs of an attempt and a state."""
    first = begin(store)
    for old, new in product(POINTS, POINTS):
        before = replace(first, attempt=old[0], state=old[1])
        after = replace(first, attempt=new[0], state=new[1])
        assert before.may_become(after) == (place(*old) < place(*new))


def test_an_earlier_point_changes_nothing(store_rig: StoreRig, store: ObjectStore) -> None:
    def check(points: list[tuple[int, State]]) -> None:
        expected = first = begin(store)
        for attempt, state in points:
            wanted = replace(expected, attempt=attempt, state=state)
            if place_of(expected) < place_of(wanted):
                expected = wanted
            change = partial(replace, attempt=attempt, state=state)
            assert status.change(store, first.job, change) == expected
            assert status.read(store, first.job) == expected

    store_rig.prove(100, check, points=st.lists(st.sampled_from(POINTS), max_size=12))


def test_the_latest_point_stands_after_8_threads(store_rig: StoreRig, store: ObjectStore) -> None:
    """…and each of them sees time go forward only."""
    orders = st.lists(st.sampled_from(POINTS), min_size=1, max_size=6)
    eight = st.lists(orders, min_size=8, max_size=8)
    store_rig.prove(15, check_writers, store=st.just(store), writers=eight)


def check_writers(store: ObjectStore, writers: list[list[tuple[int, State]]]) -> None:
    job = begin(store).job

    def write(points: list[tuple[int, State]]) -> list[tuple[int, int]]:
        changes = [partial(replace, attempt=attempt, state=state) for attempt, state in points]
        return [place_of(status.change(store, job, change)) for change in changes]

    with ThreadPoolExecutor(len(writers)) as pool:
        histories = list(pool.map(write, writers))
    for points, history in zip(writers, histories, strict=True):
        assert history == sorted(history)
        assert all(place(*p) <= h for p, h in zip(points, history, strict=True))
    latest = max(place(*point) for points in writers for point in points)
    assert place_of(status.read(store, job)) == max(latest, place(1, State.SUBMITTED))


def test_a_reader_never_sees_8_processes_go_back(store: ObjectStore) -> None:
    """…though each writes all points in an order of its own."""
    job = begin(store).job
    chance = random.Random(4)
    orders = [chance.sample(POINTS, len(POINTS)) for _ in range(8)]
    workers = [
        Worker(store, "advance", job, *(f"{attempt}:{state.value}" for attempt, state in points))
        for points in orders
    ]
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(results, workers)
        seen = [place_of(status.read(store, job))]
        while not done.done():
            seen.append(place_of(status.read(store, job)))
        assert done.result() == ["done"] * 8
    assert all(earlier <= later for earlier, later in pairwise(seen))
    assert place_of(status.read(store, job)) == max(place(*point) for point in POINTS)


def test_the_first_end_of_an_attempt_is_its_end(store: ObjectStore) -> None:
    for end, other in product(FINAL, FINAL):
        job = begin(store).job
        status.advance(store, job, 1, end)
        assert status.advance(store, job, 1, other).state is end


def test_an_attempt_that_is_over_cannot_advance_a_job(store: ObjectStore) -> None:
    """…nor can one that has not begun."""
    job = begin(store).job
    status.change(store, job, partial(replace, attempt=2, state=State.STAGING))
    assert status.advance(store, job, 1, State.FAILED).state is State.STAGING
    assert status.advance(store, job, 3, State.RUNNING).state is State.STAGING
    assert status.advance(store, job, 2, State.RUNNING).state is State.RUNNING


def test_a_job_begins_once(store: ObjectStore) -> None:
    first = begin(store)
    with pytest.raises(Conflict):
        status.begin(store, replace(first, name="another"))
    assert status.read(store, first.job) == first


def test_a_job_that_is_unknown_is_not_found(store: ObjectStore) -> None:
    """…also when it is removed between a change's reading and writing."""
    with pytest.raises(NotFound):
        status.read(store, "unknown")
    first = begin(store)

    def remove(found: Status) -> Status:
        store.delete(layout.status(first.job))
        return replace(found, state=State.RUNNING)

    with pytest.raises(NotFound):
        status.change(store, first.job, remove)


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b"{}", b"\xff", b'{"state": "flying"}', b'{"state": "failed"}']
)
def test_a_status_that_is_torn_or_too_new_is_a_clear_failure(
    store: ObjectStore, document: bytes
) -> None:
    store.put(layout.status("torn"), document)
    with pytest.raises(Unreadable, match="status of a job can't be read"):
        status.read(store, "torn")


def test_fields_of_a_newer_version_are_passed_over(store: ObjectStore) -> None:
    first = begin(store)
    newer = first.to_json().replace(b"{", b'{"color": "blue",', 1)
    store.put(layout.status(first.job), newer)
    assert status.read(store, first.job) == first
