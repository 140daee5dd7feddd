"""Streams in a store: nothing is lost or read twice, whoever is killed or away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.checkpoints import DyingStore

from llmcloud.runtime import layout, segments
from llmcloud.runtime.errors import StoreFull
from llmcloud.runtime.segments import Position, SegmentWriter, read_from, ship_leftovers

if TYPE_CHECKING:
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
    writer._file.write(b"half a record"[:cut])
    writer._file.close()
    ship_leftovers(store, folder / "spool")
    assert read(store)[0] == b"".join(record(number) for number in range(written))
    ship_leftovers(store, folder / "spool")
    assert not store.exists(layout.segment(STREAM, 99))
