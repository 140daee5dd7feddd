"""Streams in a store: nothing is lost or read twice, whoever is killed or away."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.checkpoints import DyingStore

from llmcloud.runtime import layout, segments, spool
from llmcloud.runtime.errors import Failure, StoreFull
from llmcloud.runtime.segments import Position, SegmentWriter, read_from, ship_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STREAM = "jobs/j/logs/0001/00000/"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 100)
    monkeypatch.setattr(segments, "READ_BYTES", 32)


@pytest.fixture
def store(tmp_path: Path) -> DyingStore:
    made = DyingStore(tmp_path / "store", StoreFull("No space."))
    made.create()
    return made


def record(number: int) -> bytes:
    return f"record {number}\n".encode()


def read(store: DyingStore, position: Position = Position()) -> tuple[bytes, Position]:  # noqa: B008
    data = b""
    for chunk, after in read_from(store, STREAM, position):
        assert chunk.endswith(b"\n")
        data, position = data + chunk, after
    return data, position


def test_a_reader_gets_each_record_once_while_the_writer_goes_on(
    store: DyingStore, tmp_path: Path
) -> None:
    writer = SegmentWriter(store, STREAM, tmp_path / "spool")
    seen, at = b"", Position()
    for number in range(200):
        writer.append(record(number))
        if number % 3 == 0:
            writer.flush()
        if number % 7 == 0:
            new, at = read(store, at)
            seen += new
    writer.close()
    new, at = read(store, at)
    assert seen + new == b"".join(record(number) for number in range(200))
    assert at.seq > 5
    assert not (tmp_path / "spool").exists()


def test_a_reader_that_begins_anew_from_a_position_misses_nothing(
    store: DyingStore, tmp_path: Path
) -> None:
    writer = SegmentWriter(store, STREAM, tmp_path / "spool")
    for number in range(50):
        writer.append(record(number))
    writer.close()
    everything = b"".join(record(number) for number in range(50))
    before = b""
    for chunk, after in read_from(store, STREAM, Position()):
        before += chunk
        assert before + read(store, after)[0] == everything


def test_a_record_longer_than_a_read_is_read_whole(store: DyingStore, tmp_path: Path) -> None:
    writer = SegmentWriter(store, STREAM, tmp_path / "spool")
    writer.append(b"x" * 5000 + b"\n")
    writer.append(b"y\n")
    writer.close()
    assert read(store)[0] == b"x" * 5000 + b"\ny\n"


def test_a_store_that_fails_at_any_operation_loses_nothing(tmp_path: Path) -> None:
    for dies_at in range(1, 12):
        store = DyingStore(tmp_path / f"{dies_at}" / "store", StoreFull("No space."))
        store.create()
        store.operations, store.dies_at = 0, dies_at
        writer = SegmentWriter(store, STREAM, tmp_path / f"{dies_at}" / "spool")
        for number in range(30):
            writer.append(record(number))
            try:
                writer.flush()
            except StoreFull:
                continue
        writer.close()
        assert read(store)[0] == b"".join(record(number) for number in range(30))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 12))
def test_what_a_killed_writer_left_is_shipped_by_the_next(
    tmp_path_factory: pytest.TempPathFactory, written: int, flushed: int, cut: int
) -> None:
    """Also when the kill came in the middle of a record."""
    folder = tmp_path_factory.mktemp("killed")
    store = DyingStore(folder / "store")
    store.create()
    writer = SegmentWriter(store, STREAM, folder / "spool")
    for number in range(written):
        writer.append(record(number))
        if number == flushed:
            writer.flush()
    with (folder / "spool" / f"{writer._seq:08d}").open("ab") as file:
        file.write(b"half a record"[:cut])
    ship_leftovers(store, folder / "spool")
    assert read(store)[0] == b"".join(record(number) for number in range(written))
    ship_leftovers(store, folder / "spool")
    assert not store.exists(layout.segment(STREAM, 99))


def test_a_node_whose_disk_takes_nothing_still_ships_its_log(
    store: DyingStore, tmp_path: Path
) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    writer = SegmentWriter(store, STREAM, tmp_path / "spool")
    for number in range(200):
        writer.append(record(number))
        writer.flush()
    writer.close()
    assert read(store)[0] == b"".join(record(number) for number in range(200))


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=12))
def test_a_disk_that_is_full_at_times_tears_no_record(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]]
) -> None:
    """The limit on a file's size makes writes short, then fail, as a full disk does."""
    folder = tmp_path_factory.mktemp("full")
    store = DyingStore(folder / "store")
    store.create()
    writer = SegmentWriter(store, STREAM, folder / "spool")
    for number, (limit, is_flushed) in enumerate(steps):
        with file_size_limit(limit):
            writer.append(record(number))
        if is_flushed:
            writer.flush()
    writer.close()
    assert read(store)[0] == b"".join(record(number) for number in range(len(steps)))


def test_what_neither_disk_nor_store_takes_is_told(
    store: DyingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "HELD_BYTES_MAX", 1000)
    (tmp_path / "spool").write_text("no folder")
    writer = SegmentWriter(store, STREAM, tmp_path / "spool")
    for number in range(200):
        writer.append(record(number))
    with pytest.raises(Failure, match="were lost"):
        writer.close()
    kept = read(store)[0]
    assert kept
    assert b"".join(record(number) for number in range(200)).startswith(kept)


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
