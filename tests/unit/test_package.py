"""The code folder as an archive: the same files give the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from llmcloud.core.errors import SpecError
from llmcloud.core.package import Archive, pack, pack_runtime
from llmcloud.runtime.unpack import unpack

LIMIT = 10**6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "code"
    (made / "pkg").mkdir(parents=True)
    (made / "train.py").write_text("print(1)")
    (made / "pkg" / "mod.py").write_text("x = 1")
    (made / "run.sh").write_text("echo")
    (made / "run.sh").chmod(0o755)
    (made / "link.py").symlink_to("train.py")
    return made


def packed(folder: Path, *exclude: str, limit: int = LIMIT) -> Archive:
    return pack(folder, exclude, limit, folder.parent / "code.tar.gz")


def unpacked(archive: Archive) -> Path:
    target = archive.path.with_name("out")
    target.mkdir()
    with tarfile.open(archive.path) as tar:
        unpack(tar, target)
    return target


def test_what_travels_comes_out_as_it_was(folder: Path) -> None:
    out = unpacked(packed(folder))
    assert (out / "pkg" / "mod.py").read_text() == "x = 1"
    assert (out / "link.py").readlink() == Path("train.py")
    assert os.access(out / "run.sh", os.X_OK)
    assert not os.access(out / "train.py", os.X_OK)


def test_the_same_files_give_the_same_digest_wherever_and_whenever(
    folder: Path, tmp_path: Path
) -> None:
    first = packed(folder)
    assert first.digest == packed(folder).digest
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, copy, symlinks=True)
    os.utime(copy / "train.py", (0, 0))
    (copy / "train.py").chmod(0o600)
    assert packed(copy).digest == first.digest


@pytest.mark.parametrize("change", ["content", "name", "mode", "link", "more"])
def test_any_change_that_matters_gives_another_digest(folder: Path, change: str) -> None:
    first = packed(folder).digest
    match change:
        case "content":
            (folder / "train.py").write_text("print(2)")
        case "name":
            (folder / "train.py").rename(folder / "other.py")
        case "mode":
            (folder / "train.py").chmod(0o755)
        case "link":
            (folder / "link.py").unlink()
            (folder / "link.py").symlink_to("run.sh")
        case _:
            (folder / "more.py").touch()
    assert packed(folder).digest != first


def test_a_folder_that_is_too_big_names_what_is_big(folder: Path) -> None:
    with (folder / "corpus.bin").open("wb") as file:
        file.truncate(50 * 10**9)
    with pytest.raises(SpecError) as refused:
        packed(folder)
    (problem,) = refused.value.problems
    assert (problem.key, "corpus.bin (50,000 MB)" in problem.message) == ("code.path", True)
    assert packed(folder, "*.bin").files == 4


def test_a_folder_that_is_not_there_is_a_mistake_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        packed(tmp_path / "nowhere")


def test_what_cannot_travel_is_left_out_and_named(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "broken").symlink_to("nowhere")
    (folder / "outside").symlink_to("/etc/hostname")
    archive = packed(folder)
    assert sorted(warning.split()[0] for warning in archive.warnings) == [
        "broken",
        "fifo",
        "outside",
    ]
    assert archive.files == 4


def test_the_runtime_runs_from_its_zip_with_nothing_else(tmp_path: Path) -> None:
    digest = pack_runtime(tmp_path / "runtime.pyz")
    assert digest == pack_runtime(tmp_path / "again.pyz")
    done = subprocess.run(
        [sys.executable, "-I", "-S", tmp_path / "runtime.pyz", "--help"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert b"--rank" in done.stdout
