"""Records of a log: what was printed comes back, byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmcloud.runtime.records import MAX_PIECE_BYTES, LineSplitter, Record, decode

STREAMS = st.sampled_from(["stdout", "stderr", "system"])
TIMES = st.integers(10**12, 10**13 - 1)
LINES = st.binary(max_size=60).map(lambda text: text.replace(b"\n", b""))


@given(st.lists(st.builds(Record, TIMES, STREAMS, LINES, st.booleans())))
def test_records_come_back_as_they_were(records: list[Record]) -> None:
    data = b"".join(record.encode() for record in records)
    found = list(decode(data))
    assert [record for record, _ in found] == records
    assert sum(size for _, size in found) == len(data)


@given(st.binary(max_size=300))
def test_rubbish_is_passed_over_and_every_byte_is_counted_at_most_once(data: bytes) -> None:
    good = Record(1_795_300_000_123, "stdout", b"good").encode()
    rubbish = data.replace(b"\n", b"") + b"\n"
    *_, (last, _) = decode(rubbish + good)
    assert last.text == b"good"
    assert sum(size for _, size in decode(rubbish + good)) == len(rubbish + good)


def test_a_record_that_is_cut_off_is_not_read() -> None:
    data = Record(1_795_300_000_123, "stdout", b"whole").encode()
    assert [record.text for record, _ in decode(data + data[:-3])] == [b"whole"]


@given(st.lists(st.binary(max_size=40)), st.data())
def test_pieces_joined_are_what_was_printed(chunks: list[bytes], data: st.DataObject) -> None:
    """Wherever the reads and the cuts fall."""
    splitter, records = LineSplitter("stdout"), []
    for chunk in chunks:
        records += splitter.feed(chunk, 0)
        if data.draw(st.booleans()):
            records += splitter.cut(0)
    records += splitter.cut(0)
    assert joined(records) == b"".join(chunks)
    assert not any(b"\n" in record.text for record in records)


def test_a_bar_that_is_redrawn_does_not_wait_for_its_line() -> None:
    (record,) = LineSplitter("stdout").feed(b"\r 10%\r 20%\r 3", 0)
    assert (record.text, record.ends_line) == (b"\r 10%\r 20%\r", False)


def test_a_line_without_end_is_let_go_in_pieces() -> None:
    splitter = LineSplitter("stdout")
    (record,) = splitter.feed(b"x" * MAX_PIECE_BYTES, 0)
    assert (len(record.text), record.ends_line) == (MAX_PIECE_BYTES, False)
    assert splitter.cut(0) == []


def joined(records: list[Record]) -> bytes:
    return b"".join(record.text + b"\n" * record.ends_line for record in records)
