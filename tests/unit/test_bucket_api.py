"""What all buckets have in common before any is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.runtime.bucket_api import crc32c_in, crc32c_metadata


@given(st.integers(0, 2**32 - 1))
def test_a_digest_comes_back_from_its_metadata(crc32c: int) -> None:
    assert crc32c_in(crc32c_metadata(crc32c)) == crc32c


@pytest.mark.parametrize("said", ["", "yZRlqg==", "0xcafe", "1234", "+1234567", "FEEDC0DE"])
def test_the_digests_of_other_programs_are_no_digests_of_ours(said: str) -> None:
    """Their objects can be read all the same."""
    assert crc32c_in({"crc32c": said}) is None
    assert crc32c_in({}) is None
