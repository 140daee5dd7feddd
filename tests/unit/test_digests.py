"""Digests of many files at once are those of each."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest
from fastcrc.crc32 import iscsi as crc32c

from llmcloud.core.digests import Digests, digests
from llmcloud.core.ignore import walk
from llmcloud.runtime.digests import file_mark, link_mark, sha256_of, tree_digest

if TYPE_CHECKING:
    from pathlib import Path


def test_each_file_has_its_own(tmp_path: Path) -> None:
    """…also those that share a thread, and those that fill one."""
    made = random.Random(1)
    sizes = [0, 1, 5_000_000, 3_000_000, *(made.randrange(5000) for _ in range(300))]
    expected = {}
    for number, size in enumerate(sizes):
        data = made.randbytes(size)
        (tmp_path / f"{number}").write_bytes(data)
        expected[f"{number}"] = Digests(hashlib.sha256(data).hexdigest(), crc32c(data))
    assert digests(walk(tmp_path)) == expected
    assert sha256_of(tmp_path / "2") == expected["2"].sha256


def test_of_nothing_there_are_none() -> None:
    assert digests([]) == {}


def test_a_file_that_went_meanwhile_is_an_error_of_its_name(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}").touch()
    entries = list(walk(tmp_path))
    (tmp_path / "50").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        digests(entries)
    assert caught.value.filename == str(tmp_path / "50")


def test_what_stands_for_a_file_tells_mode_kind_and_bytes() -> None:
    """…or else two trees that differ in one of these would have one name."""
    marks = {
        file_mark("a" * 64, is_executable=True),
        file_mark("a" * 64, is_executable=False),
        file_mark("b" * 64, is_executable=False),
        link_mark("a" * 64),
        link_mark("- " + "a" * 64),
    }
    assert len({tree_digest({"name": mark}) for mark in marks}) == 5
