"""What `push`, `pull` and `remove` do to files and folders."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from llmcloud.core import sync
from llmcloud.core.sync import Options, PartlyFailed
from llmcloud.core.transfer import OutOfSpace, Progress, check_space
from llmcloud.runtime import layout
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "data/corpus/"


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    found = FileStore(tmp_path / "store")
    found.create()
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plant(
        tmp_path / "source",
        {"a.txt": "alpha", "d/b.bin": "beta", "d/e/c.txt": "", "ä ö.txt": "umlaut"},
    )


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def contents(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in root.rglob("*")
        if path.is_file()
    }


def keys(store: FileStore) -> list[str]:
    return [entry.key for entry in store.objects(PREFIX)]


def test_a_folder_comes_back_as_it_was(store: FileStore, source: Path, tmp_path: Path) -> None:
    """With its names, its bytes and its times; and nothing of ours lies among the data."""
    summary = sync.push(store, PREFIX, source)
    assert (len(summary.transferred), summary.size_bytes) == (4, 15)
    assert keys(store) == sorted(PREFIX + name for name in contents(source))
    sync.pull(store, PREFIX, tmp_path / "target")
    assert contents(tmp_path / "target") == contents(source)
    times = [(root / "a.txt").stat().st_mtime_ns for root in (source, tmp_path / "target")]
    assert times[0] == times[1]


def test_what_is_unchanged_is_not_sent_again(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """In either direction; by size and time."""
    target = tmp_path / "target"
    sync.push(store, PREFIX, source)
    sync.pull(store, PREFIX, target)
    assert sync.push(store, PREFIX, source).transferred == ()
    assert sync.pull(store, PREFIX, target).transferred == ()
    (source / "a.txt").write_text("other")
    assert sync.push(store, PREFIX, source).transferred == ("a.txt",)
    assert sync.pull(store, PREFIX, target).transferred == ("a.txt",)
    assert contents(target)["a.txt"] == "other"


def test_checksum_finds_a_change_that_kept_size_and_time(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """And leaves a file alone that was only touched."""
    target, checksum = tmp_path / "target", Options(checksum=True)
    sync.push(store, PREFIX, source)
    sync.pull(store, PREFIX, target)
    for path in (source / "a.txt", target / "d/b.bin"):
        times = path.stat()
        path.write_text(path.read_text()[::-1])
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(source / "d/b.bin")
    assert sync.push(store, PREFIX, source, checksum).transferred == ("a.txt",)
    assert set(sync.pull(store, PREFIX, target, checksum).transferred) == {"a.txt", "d/b.bin"}
    assert contents(target) == contents(source)


def test_an_object_that_went_is_pushed_again(store: FileStore, source: Path) -> None:
    """What the index remembers is checked against what is there."""
    sync.push(store, PREFIX, source)
    store.delete(PREFIX + "a.txt")
    assert sync.push(store, PREFIX, source).transferred == ("a.txt",)


def test_a_file_and_a_glob_are_pushed_under_their_names(store: FileStore, source: Path) -> None:
    """A glob's from its first folder without a wildcard; a matched folder with all in it."""
    sync.push(store, PREFIX, source / "a.txt")
    assert keys(store) == [PREFIX + "a.txt"]
    sync.push(store, PREFIX, str(source / "d/*"))
    assert keys(store) == [PREFIX + name for name in ("a.txt", "b.bin", "e/c.txt")]
    with pytest.raises(NotFound, match="Nothing matches"):
        sync.push(store, PREFIX, str(source / "*.nothing"))
    with pytest.raises(NotFound, match="no file or folder"):
        sync.push(store, PREFIX, source / "absent")


def test_ignored_files_and_excludes_stay(store: FileStore, source: Path) -> None:
    """By the rules that code packaging uses."""
    plant(source, {".gitignore": "d/e/\n", ".git/config": ""})
    sync.push(store, PREFIX, source, Options(exclude=["*.bin"]))
    assert keys(store) == [PREFIX + name for name in (".gitignore", "a.txt", "ä ö.txt")]


def test_a_dry_run_says_what_would_happen_and_does_nothing(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """For each of the three."""
    dry = Options(dry_run=True)
    assert len(sync.push(store, PREFIX, source, dry).transferred) == 4
    assert list(store.objects()) == []
    sync.push(store, PREFIX, source)
    assert len(sync.pull(store, PREFIX, tmp_path / "target", dry).transferred) == 4
    assert not (tmp_path / "target").exists()
    assert len(sync.remove(store, PREFIX, dry_run=True).transferred) == 4
    assert len(keys(store)) == 4


def test_remove_leaves_nothing(store: FileStore, source: Path) -> None:
    """Nor of the index; and what is not there can't be removed."""
    sync.push(store, PREFIX, source)
    sync.remove(store, PREFIX)
    assert list(store.objects()) == []
    with pytest.raises(NotFound):
        sync.remove(store, PREFIX)
    with pytest.raises(NotFound):
        sync.pull(store, PREFIX, source)


def test_each_failed_file_is_named_and_the_others_arrive(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """A folder in a file's way and a symlink that leads out stop only their own files."""
    sync.push(store, PREFIX, source)
    target, outside = tmp_path / "target", tmp_path / "outside"
    outside.mkdir()
    (target / "a.txt").mkdir(parents=True)
    (target / "d").symlink_to(outside)
    with pytest.raises(PartlyFailed) as caught:
        sync.pull(store, PREFIX, target)
    assert set(caught.value.failed) == {"a.txt", "d/b.bin", "d/e/c.txt"}
    assert all(name in caught.value.what for name in caught.value.failed)
    assert caught.value.exit_code == 6
    assert contents(outside) == {}
    assert (target / "ä ö.txt").read_text() == "umlaut"


def test_a_link_at_a_files_place_is_replaced_not_written_through(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """What it pointed at keeps its bytes."""
    sync.push(store, PREFIX, source)
    precious = plant(tmp_path, {"precious": "keep"}) / "precious"
    (tmp_path / "target").mkdir()
    (tmp_path / "target/a.txt").symlink_to(precious)
    sync.pull(store, PREFIX, tmp_path / "target")
    assert precious.read_text() == "keep"
    assert not (tmp_path / "target/a.txt").is_symlink()


def test_links_are_pushed_as_what_they_point_at_within_the_folder(
    store: FileStore, source: Path
) -> None:
    """What can't be pushed is told, and is no failure."""
    (source / "link").symlink_to("a.txt")
    (source / "folder").symlink_to("d")
    (source / "broken").symlink_to("nowhere")
    summary = sync.push(store, PREFIX, source)
    assert store.get(PREFIX + "link").data == b"alpha"
    assert summary.left_out == {
        "broken": "it is a link to nothing",
        "folder": "it is a link to a folder",
    }


def test_a_file_that_can_not_be_read_fails_and_the_others_are_pushed(
    store: FileStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes with the next push, which sends nothing twice."""
    send = store.put_file

    def refusing(key: str, path: Path) -> str:
        if path.name == "a.txt":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return send(key, path)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_file", refusing)
        with pytest.raises(PartlyFailed, match=r"1 file failed, 3 were.*\na\.txt: Permission"):
            sync.push(store, PREFIX, source)
    assert sync.push(store, PREFIX, source).transferred == ("a.txt",)


def test_damage_in_the_store_is_noticed(store: FileStore, source: Path, tmp_path: Path) -> None:
    """And the file does not appear."""
    sync.push(store, PREFIX, source)
    store.put(PREFIX + "a.txt", b"ALPHA")
    with pytest.raises(PartlyFailed, match=r"a\.txt: What was fetched"):
        sync.pull(store, PREFIX, tmp_path / "target")
    assert sorted(contents(tmp_path / "target")) == ["d/b.bin", "d/e/c.txt", "ä ö.txt"]


class Dying(FileStore):
    """Is killed before its n-th change."""

    left = 10**9

    def put_file(self, key: str, path: Path) -> str:
        self._count()
        return super().put_file(key, path)

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        self._count()
        return super().put(key, data, if_absent=if_absent, if_match=if_match)

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", range(5))
def test_a_push_that_is_killed_anywhere_leaves_no_digest_that_is_wrong(
    store: FileStore, source: Path, tmp_path: Path, at: int
) -> None:
    """So a pull between it and the next push works."""
    sync.push(store, PREFIX, source)
    for path in source.rglob("*.*"):
        path.write_text(path.read_text().upper())
    dying = Dying(store.root)
    dying.left = at
    with pytest.raises(KeyboardInterrupt):
        sync.push(dying, PREFIX, source, Options(checksum=True))
    sync.pull(store, PREFIX, tmp_path / "between")
    sync.push(store, PREFIX, source, Options(checksum=True))
    sync.pull(store, PREFIX, tmp_path / "target")
    assert contents(tmp_path / "target") == contents(source)


def test_progress_reaches_its_totals(store: FileStore, source: Path, tmp_path: Path) -> None:
    """In bytes and in files, both ways."""
    seen: list[Progress] = []
    sync.push(store, PREFIX, source, Options(progress=seen.append))
    assert seen[-1] == Progress(15, 15, 4, 4)
    sync.pull(store, PREFIX, tmp_path / "target", Options(progress=seen.append))
    assert seen[-1] == Progress(15, 15, 4, 4)


def test_outputs_without_an_index_are_pulled_too(store: FileStore, tmp_path: Path) -> None:
    """A node writes them; there are no digests then, and the object's time decides."""
    prefix = layout.outputs("job-1")
    store.put(prefix + "00000/result.txt", b"42")
    assert sync.pull(store, prefix, tmp_path / "target").transferred == ("00000/result.txt",)
    assert sync.pull(store, prefix, tmp_path / "target").transferred == ()


def test_a_download_that_cannot_fit_is_not_begun(tmp_path: Path) -> None:
    """And says how much is needed."""
    with pytest.raises(OutOfSpace, match=f"{1 << 60:,} bytes are needed"):
        check_space(tmp_path / "new", 1 << 60)
