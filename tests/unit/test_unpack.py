"""Unpacking code, on a Python whose tarfile has a data filter and on one (3.11.2) that has none."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from llmcloud.runtime.errors import InvalidRequest
from llmcloud.runtime.unpack import unpack

if TYPE_CHECKING:
    from pathlib import Path


def archive(*members: tuple[str, bytes, str]) -> tarfile.TarFile:
    """Return an archive of (name, type, link) members; files hold `x`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o500
            info.size = 1 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"x"))
    buffer.seek(0)
    return tarfile.open(fileobj=buffer)


@pytest.fixture
def old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)


@pytest.mark.parametrize("old", [False, True])
def test_code_is_unpacked_with_its_links(
    old: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if old:
        request.getfixturevalue("old_python")
    tar = archive(
        ("a", tarfile.DIRTYPE, ""),
        ("a/run.sh", tarfile.REGTYPE, ""),
        ("a/up", tarfile.SYMTYPE, "../top"),
        ("top", tarfile.REGTYPE, ""),
    )
    unpack(tar, tmp_path)
    assert (tmp_path / "a" / "up").read_text() == "x"
    assert (tmp_path / "a" / "run.sh").stat().st_mode & 0o100


@pytest.mark.usefixtures("old_python")
@pytest.mark.parametrize(
    "members",
    [
        [("../out", tarfile.REGTYPE, "")],
        [("/tmp/llmcloud-out", tarfile.REGTYPE, "")],
        [("a", tarfile.SYMTYPE, "/etc")],
        [("a", tarfile.SYMTYPE, ".."), ("a/out", tarfile.REGTYPE, "")],
        [("a", tarfile.LNKTYPE, "/etc/passwd")],
        [("a", tarfile.FIFOTYPE, "")],
        [("a", tarfile.CHRTYPE, "")],
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(
    members: list[tuple[str, bytes, str]], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InvalidRequest):
        unpack(archive(*members), tmp_path / "in")
    assert [each.name for each in tmp_path.iterdir()] == ["in"]
