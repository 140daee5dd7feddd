"""Metrics out of the files that trainings write: events, trainer_state.json, metrics.csv."""

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.runtime.metrics.events import EventFile, masked_crc32c, read_event
from llmcloud.runtime.metrics.metric import Reading
from llmcloud.runtime.metrics.protobuf import read_fields
from llmcloud.runtime.metrics.trainer_state import MetricsCsv, TrainerState

GOLDEN = Path(__file__).parent / "golden"
TENSORBOARDX = GOLDEN / "events" / "tensorboardX.tfevents.0"
TENSORS = GOLDEN / "events" / "tensors.tfevents.0"


def flat(readings: list[Reading]) -> list[tuple[int | None, str, float]]:
    return [(each.step, name, value) for each in readings for name, value in each.values.items()]


def test_scalars_are_read_under_the_names_that_all_sources_share() -> None:
    """Histograms and texts are passed over."""
    found = EventFile(TENSORBOARDX).poll()
    assert flat(found) == [
        (0, "loss", 3.0), (0, "eval_loss", 3.5), (10, "loss", 2.6), (10, "eval_loss", 3.1),
        (20, "loss", 2.2), (20, "eval_loss", 2.7), (30, "loss", 1.8), (30, "eval_loss", 2.3),
        (40, "loss", 1.4), (40, "eval_loss", 1.9),
    ]  # fmt: skip
    assert found[-1].at_s == 1700000040.0


def test_a_number_may_come_as_a_tensor_of_any_float_type() -> None:
    """What Keras counts in epochs is no step, and a vector is no number."""
    assert flat(EventFile(TENSORS).poll()) == [
        (1, "content_float", 1.5),
        (2, "float_val", 2.5),
        (3, "double_val", 3.25),
        (4, "half_val", 0.75),
        (5, "content_double", 4.125),
        (8, "eval_loss", 0.5),
    ]


def test_a_file_that_grows_byte_by_byte_gives_each_record_once(tmp_path: Path) -> None:
    """A cut-off tail is not an error, it is waited for."""
    whole = TENSORBOARDX.read_bytes()
    path = tmp_path / "events"
    source, found = EventFile(path), []
    assert source.poll() == []
    for size in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:size])
        found += source.poll()
    path.write_bytes(whole)
    found += source.poll()
    assert found == EventFile(TENSORBOARDX).poll()
    assert source.poll() == []


def test_a_damaged_record_ends_the_reading_until_it_is_whole(tmp_path: Path) -> None:
    """A network file system may show a file's length before its bytes."""
    whole = bytearray(TENSORBOARDX.read_bytes())
    path = tmp_path / "events"
    damaged = whole.copy()
    damaged[200:] = bytes(len(damaged) - 200)
    path.write_bytes(damaged)
    source = EventFile(path)
    before = source.poll()
    assert 0 < len(before) < 10
    path.write_bytes(whole)
    assert before + source.poll() == EventFile(TENSORBOARDX).poll()


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return (
        length + struct.pack("<I", masked_crc32c(length)) + data
        + struct.pack("<I", masked_crc32c(data))
    )  # fmt: skip


def test_a_huge_record_is_stepped_over(tmp_path: Path) -> None:
    """It holds pictures, and reading it would cost the node's time."""
    path = tmp_path / "events"
    path.write_bytes(framed(bytes(2 << 20)) + TENSORBOARDX.read_bytes())
    assert len(EventFile(path).poll()) == 10


def test_the_checksum_is_crc32c_masked() -> None:
    """The CRC of the nine digits is in every description of CRC-32C."""
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@given(st.binary(max_size=200))
def test_junk_with_a_good_checksum_breaks_nothing(data: bytes) -> None:
    reading = read_event(data)
    assert reading is None or reading.values


@given(st.binary(max_size=300), st.integers(0, 900))
def test_junk_in_a_file_breaks_nothing(tmp_path_factory, junk: bytes, at: int) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.getbasetemp() / f"events-{os.getpid()}"
    data = bytearray(TENSORBOARDX.read_bytes())
    data[at : at + len(junk)] = junk
    path.write_bytes(data)
    assert len(EventFile(path).poll()) <= 10


def test_negative_and_large_numbers_of_the_wire_are_read() -> None:
    fields = read_fields(b"\x10" + b"\xff" * 9 + b"\x01")
    assert fields.integer(2) == -1
    assert fields.integer(3) == 0


@pytest.mark.parametrize("data", [b"\x10", b"\x0a\x05ab", b"\x0b", b"\xff" * 11, b"\x09\x00"])
def test_a_cut_off_message_is_an_error_of_its_own(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|no varint|wire type"):
        read_fields(data)


def test_trainer_state_gives_its_history_with_the_total() -> None:
    found = TrainerState(GOLDEN / "metrics" / "trainer_state.json").poll()
    losses = {each.step: each.values["loss"] for each in found if "loss" in each.values}
    assert [*losses] == [5, 10, 15, 20, 25, 30]
    assert losses[5] == 1.959295654296875
    assert [each.step for each in found if "eval_loss" in each.values] == [15]
    assert {each.total for each in found} == {30}


def state(*steps: int) -> str:
    history = [{"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in steps]
    return json.dumps({"max_steps": 100, "global_step": steps[-1], "log_history": history})


def test_trainer_state_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    source = TrainerState(path)
    assert source.poll() == []
    path.write_text(state(10, 20))
    assert [each.step for each in source.poll()] == [10, 20]
    assert source.poll() == []
    path.write_text(state(10, 20, 30))
    assert 30 in [each.step for each in source.poll()]


def test_trainer_state_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    source = TrainerState(path)
    path.write_text(state(10)[:-4])
    assert source.poll() == []
    path.write_text(state(10))
    assert [each.values for each in source.poll()] == [{"loss": 0.1, "lr": 0.1}]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '{"log_history": 5}', '{"log_history": [5, {"step": "x"}, {}]}',
     '{"log_history": [{"loss": 1}], "max_steps": "many"}', "[" * 100_000],
)  # fmt: skip
def test_trainer_state_that_is_something_else_gives_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(text)
    assert TrainerState(path).poll() == []


def test_lightning_s_table_gives_its_rows_without_the_empty_cells() -> None:
    found = MetricsCsv(GOLDEN / "metrics" / "metrics.csv").poll()
    assert len(found) == 10
    assert found[0].step == 1
    assert found[0].values == {"epoch": 0.0, "train_loss": 0.11981081962585449}
    assert found[4].values == {"epoch": 0.0, "eval_loss": 0.11592236161231995}


def test_a_table_that_grows_gives_each_whole_row_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    source = MetricsCsv(path)
    path.write_text("step,loss\n1,2.5\n2,2.")
    assert flat(source.poll()) == [(1, "loss", 2.5)]
    path.write_text("step,loss\n1,2.5\n2,2.25\n")
    assert flat(source.poll()) == [(2, "loss", 2.25)]
    assert source.poll() == []


def test_a_table_that_is_written_anew_with_another_column_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    source = MetricsCsv(path)
    path.write_text("step,loss\n1,2.5\n")
    source.poll()
    path.write_text("step,loss,val_loss\n1,2.5,\n2,2.0,3.0\n")
    assert flat(source.poll()) == [(1, "loss", 2.5), (2, "loss", 2.0), (2, "eval_loss", 3.0)]


@given(st.binary(max_size=100), st.text(max_size=50))
def test_no_table_breaks_the_reading(tmp_path_factory, junk: bytes, text: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.getbasetemp() / f"table-{os.getpid()}"
    path.write_bytes(b"step,loss,a\n1,nan," + junk + b"\ninf,1,2\n\n" + text.encode() + b"\n")
    for reading in MetricsCsv(path).poll():
        assert isinstance(reading.step, int)


def test_a_file_that_vanishes_ends_in_silence(tmp_path: Path) -> None:
    copy = tmp_path / "events"
    shutil.copy(TENSORBOARDX, copy)
    sources = [EventFile(copy), TrainerState(copy), MetricsCsv(copy)]
    copy.unlink()
    assert [source.poll() for source in sources] == [[], [], []]
