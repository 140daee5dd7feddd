"""The code folder as an archive: the same files give the same bytes."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.core.errors import SpecError
from llmcloud.core.package import Archive, look, pack_runtime
from llmcloud.runtime.digests import tree_digest
from llmcloud.runtime.errors import Failure
from llmcloud.runtime.unpack import unpack

if TYPE_CHECKING:
    from collections.abc import Callable

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
    return look(folder, exclude, limit)


def unpacked(archive: Archive, target: Path) -> str:
    """Unpack an archive and return the digest of what came out."""
    target.mkdir()
    data = b"".join(archive.packed())
    assert len(data) <= archive.packed_bytes_max
    with (
        zstandard.open(io.BytesIO(data), "rb") as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        return tree_digest(unpack(tar, target))


def test_what_travels_comes_out_as_it_was(folder: Path, tmp_path: Path) -> None:
    archive, out = packed(folder), tmp_path / "out"
    assert unpacked(archive, out) == archive.digest
    assert (out / "pkg" / "mod.py").read_text() == "x = 1"
    assert (out / "link.py").readlink() == Path("train.py")
    assert os.access(out / "run.sh", os.X_OK)
    assert not os.access(out / "train.py", os.X_OK)


def test_the_same_files_give_the_same_bytes_wherever_and_whenever(
    folder: Path, tmp_path: Path
) -> None:
    first = packed(folder)
    assert first.digest == packed(folder).digest
    copy = tmp_path / "elsewhere" / "copy"
    copy.mkdir(parents=True)
    for name in ("run.sh", "train.py", "link.py"):  # in another order
        shutil.copy(folder / name, copy / name, follow_symlinks=False)
    shutil.copytree(folder / "pkg", copy / "pkg")
    os.utime(copy / "train.py", (0, 0))
    (copy / "train.py").chmod(0o600)
    if os.geteuid() == 0:
        os.chown(copy / "train.py", 12345, 12345)
    assert packed(copy).digest == first.digest
    assert b"".join(packed(copy).packed()) == b"".join(first.packed())


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
    assert len(packed(folder, "*.bin").members) == 4


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
    assert len(archive.members) == 4


def shrink(path: Path) -> None:
    path.write_text("print()")


def grow(path: Path) -> None:
    path.write_text("print(10)")


def rewrite(path: Path) -> None:
    """Change the bytes alone: size and times are what they were."""
    before = path.stat()
    path.write_text("print(2)")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [shrink, grow, rewrite, remove])
def test_a_file_that_changes_before_it_is_packed_ends_the_packing(
    folder: Path, change: Callable[[Path], None]
) -> None:
    archive = packed(folder)
    change(folder / "train.py")
    with pytest.raises(Failure) as caught:
        list(archive.packed())
    assert caught.value.where == str(folder / "train.py")
    assert caught.value.fix == "Submit again."


def test_an_archive_of_many_pieces_comes_out_as_it_was(folder: Path, tmp_path: Path) -> None:
    """…of what can't be compressed."""
    (folder / "weights.bin").write_bytes(os.urandom(20_000_003))
    archive = packed(folder, limit=10**8)
    assert unpacked(archive, tmp_path / "out") == archive.digest


def test_what_was_read_of_the_files_is_told(folder: Path) -> None:
    archive = packed(folder)
    told: list[int] = []
    list(archive.packed(told.append))
    assert sum(told) == archive.size_bytes == len("print(1)" + "x = 1" + "echo")


PARTS = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1, max_size=60
).filter(lambda part: part not in {".", ".."} and len(part.encode()) <= 255)
FILES = st.dictionaries(
    st.lists(PARTS, min_size=1, max_size=4).map("/".join),
    st.tuples(st.binary(max_size=2000), st.booleans()),
    max_size=8,
)


@given(files=FILES)
def test_any_tree_comes_out_as_it_was(
    files: dict[str, tuple[bytes, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("any")
    there = {}
    for name, (data, executable) in files.items():
        path = root / "code" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:  # a file is in the way of a folder, or a folder of a file
            continue
        path.chmod(0o755 if executable else 0o644)
        there[name] = data, executable
    (root / "code").mkdir(exist_ok=True)
    archive = look(root / "code", (), LIMIT)
    assert unpacked(archive, root / "out") == archive.digest
    found = {path.relative_to(root / "out").as_posix() for path in (root / "out").rglob("*")}
    for member in archive.members:
        name = member.path.relative_to(root / "code").as_posix()
        path = root / "out" / name
        assert (path.read_bytes(), os.access(path, os.X_OK)) == there[name]
        found.discard(name)
    assert all((root / "out" / name).is_dir() for name in found)
    shutil.rmtree(root)


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
