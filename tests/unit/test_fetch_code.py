"""The code that a node unpacks is the code that was submitted, whatever reads zstd there."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from llmcloud.core import stage
from llmcloud.core.package import Archive, look
from llmcloud.core.transfer.meter import Meter
from llmcloud.runtime import fetch, layout, zstd
from llmcloud.runtime.errors import Failure, InvalidRequest, Unavailable
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.task import Task

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(tmp_path / "store")
    made.create()
    return made


@pytest.fixture
def archive(store: FileStore, tmp_path: Path) -> Archive:
    """A code folder that was staged."""
    folder = tmp_path / "code"
    (folder / "pkg").mkdir(parents=True)
    (folder / "train.py").write_text("print(1)")
    (folder / "run.sh").write_text("echo")
    (folder / "run.sh").chmod(0o755)
    (folder / "pkg" / "weights.bin").write_bytes(os.urandom(3_000_000))
    (folder / "link.py").symlink_to("train.py")
    made = look(folder, (), 10**8)
    (load,) = stage.code(store, made)
    load.send(Meter())
    return made


def bring(store: FileStore, digest: str, folder: Path) -> None:
    fetch.fetch(store, Task("job-1", "job", "true", code=digest), folder, lambda: None)


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Have a node on which these can't be imported."""
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("absent", [(), zstd.LIBRARIES], ids=["library", "program"])
def test_it_arrives_as_it_was(
    store: FileStore,
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    absent: tuple[str, ...],
) -> None:
    without(monkeypatch, *absent)
    bring(store, archive.digest, tmp_path / "node" / "code")
    assert look(tmp_path / "node" / "code", (), 10**8).digest == archive.digest
    assert [path.name for path in (tmp_path / "node").iterdir()] == ["code"]


def test_a_node_with_nothing_that_reads_it_says_what_to_install(
    store: FileStore, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, *zstd.LIBRARIES)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure, match="nothing to unpack zstd with") as caught:
        bring(store, archive.digest, tmp_path / "node" / "code")
    assert "apt-get install zstd" in caught.value.fix
    assert not (tmp_path / "node" / "code").exists()


@pytest.mark.parametrize("absent", [(), zstd.LIBRARIES], ids=["library", "program"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty", "no zstd"])
def test_damage_is_noticed(
    store: FileStore,
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
    absent: tuple[str, ...],
) -> None:
    without(monkeypatch, *absent)
    key = layout.code(archive.digest)
    data = bytearray(store.get(key).data)
    match damage:
        case "cut":
            del data[-1000:]
        case "flipped":
            data[len(data) // 2] ^= 1
        case "other":
            data[:] = tarred({"train.py": b"print(2)"})
        case "empty":
            data.clear()
        case _:
            data[:] = b"no zstd at all"
    store.put(key, bytes(data))
    with pytest.raises(Unavailable, match="The code archive is damaged"):
        bring(store, archive.digest, tmp_path / "node" / "code")
    assert not (tmp_path / "node" / "code").exists()


@pytest.mark.parametrize("name", ["../out", "/tmp/llmcloud-out", "a/../../out"])
@pytest.mark.parametrize("has_filter", [True, False])
def test_a_name_cannot_leave_the_folder(
    store: FileStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    has_filter: bool,
) -> None:
    if not has_filter:  # Python 3.11.2
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    store.put(layout.code("0" * 64), tarred({name: b"x"}))
    with pytest.raises((InvalidRequest, Unavailable)):
        bring(store, "0" * 64, tmp_path / "node" / "code")
    assert not list(tmp_path.rglob("*out"))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE])
def test_nothing_but_files_folders_and_links_is_unpacked(
    store: FileStore, tmp_path: Path, kind: bytes
) -> None:
    store.put(layout.code("0" * 64), tarred({"odd": b""}, kind))
    with pytest.raises(InvalidRequest, match="'odd', which is not safe"):
        bring(store, "0" * 64, tmp_path / "node" / "code")


def tarred(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a packed archive of files of this kind."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(data)
            tar.addfile(info, io.BytesIO(data))
    return zstandard.compress(raw.getvalue())
