"""Quantities are read as people write them, and written so that they read the same."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from llmcloud.core.spec.units import Accelerator, Cpus, Duration, Memory, Size, UnitError

SIZES = st.builds(Size, st.integers(1, 10**15) | st.integers(1, 999).map(lambda n: n * 10**9))
QUANTITIES = (
    st.builds(Duration, st.integers(1, 10**9))
    | SIZES
    | st.builds(Cpus, st.integers(1, 999_999), st.booleans())
    | st.builds(Memory, SIZES, st.booleans())
    | st.builds(Accelerator, st.from_regex("[A-Za-z][A-Za-z0-9.-]{0,9}", fullmatch=True),
                st.integers(1, 99_999))
)  # fmt: skip


@given(quantity=QUANTITIES)
def test_what_is_written_reads_the_same(quantity):
    assert type(quantity).parse(str(quantity)) == quantity


@given(text=st.text(max_size=20) | st.from_regex("[0-9.]+ ?[A-Za-z+:]*", fullmatch=True))
@pytest.mark.parametrize("kind", [Duration, Size, Cpus, Memory, Accelerator])
def test_any_text_is_read_or_refused(kind, text):
    try:
        found = kind.parse(text)
    except UnitError:
        return
    assert kind.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("4h", 14_400), ("1h30m", 5400), ("2d", 172_800)]
)
def test_durations(text, seconds):
    assert Duration.parse(text).seconds == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("32GB", 32 * 10**9), ("32GiB", 32 * 2**30), ("500MB", 5 * 10**8), ("1.5TB", 15 * 10**11)],
)
def test_sizes(text, size):
    assert Size.parse(text).bytes == size


@pytest.mark.parametrize("text", ["60", "0s", "1m1h", "1.5h", "-1s", "", "4 h", "٤h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UnitError):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("32", "Add a unit: 32GB or 32GiB"), ("32G", "Write 32GB"), ("32Gi", "Write 32GiB")],
)
def test_a_size_that_lacks_its_unit_is_corrected(text, hint):
    with pytest.raises(UnitError) as caught:
        Size.parse(text)
    assert caught.value.hint == hint


def test_accelerators_may_be_tpus_or_none():
    assert Accelerator.parse("tpu-v5e:16").is_tpu
    assert Accelerator.parse("none").count == 0
