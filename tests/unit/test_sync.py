"""What a sync between folders does: of a user's and of a store's; buckets have the contract."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from tests.rig.trees import Moved, contents, moved, plant

from llmcloud.core import location, outputs
from llmcloud.core.errors import UsageError
from llmcloud.core.sync import Options
from llmcloud.core.transfer.errors import OutOfSpace, PartlyFailed
from llmcloud.core.transfer.folder import FolderSource
from llmcloud.core.transfer.meter import Meter
from llmcloud.core.transfer.sides import Item
from llmcloud.core.transfer.space import check_space
from llmcloud.runtime import layout
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.transfer.sides import Reader

PLACE = "corpus"
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


def push(store: FileStore, source: Path | str, *exclude: str, **options: object) -> Moved:
    found = location.source(str(source), exclude)
    return moved(found, location.target(PLACE, store), **options)


def pull(store: FileStore, target: Path, **options: object) -> Moved:
    found = location.source(PLACE, (), store)
    return moved(found, location.target(str(target)), **options)


def keys(store: FileStore) -> list[str]:
    return [entry.key for entry in store.objects(PREFIX)]


def test_a_folder_comes_back_as_it_was(store: FileStore, source: Path, tmp_path: Path) -> None:
    """With its names, its bytes and its times; and nothing of ours lies among the data."""
    summary = push(store, source).summary
    assert (summary.transferred, summary.size_bytes) == (4, 15)
    assert [entry.key for entry in store.objects()] == sorted(PREFIX + n for n in contents(source))
    pull(store, tmp_path / "target")
    assert contents(tmp_path / "target") == contents(source)
    times = [(root / "a.txt").stat().st_mtime for root in (source, tmp_path / "target")]
    assert times[0] == pytest.approx(times[1], abs=1e-5)


def test_what_is_unchanged_is_not_sent_again(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """In either direction; by size and time."""
    target = tmp_path / "target"
    push(store, source)
    pull(store, target)
    again = push(store, source)
    assert (again.names, again.summary.unchanged) == ([], 4)
    assert pull(store, target).names == []
    (source / "a.txt").write_text("other")
    assert push(store, source).names == ["a.txt"]
    assert pull(store, target).names == ["a.txt"]
    assert contents(target)["a.txt"] == b"other"


def test_checksum_finds_a_change_that_kept_size_and_time(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """And leaves a file alone that was only touched."""
    target = tmp_path / "target"
    push(store, source)
    pull(store, target)
    for path in (source / "a.txt", target / "d/b.bin"):
        times = path.stat()
        path.write_text(path.read_text()[::-1])
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(source / "d/b.bin")
    assert push(store, source, checksum=True).names == ["a.txt"]
    assert pull(store, target, checksum=True).names == ["a.txt", "d/b.bin"]
    assert contents(target) == contents(source)


def test_an_object_that_went_is_pushed_again(store: FileStore, source: Path) -> None:
    push(store, source)
    store.delete(PREFIX + "a.txt")
    assert push(store, source).names == ["a.txt"]


def test_a_file_and_a_glob_are_pushed_under_their_names(store: FileStore, source: Path) -> None:
    """A glob's from its first folder without a wildcard; a matched folder with all in it."""
    push(store, source / "a.txt")
    assert keys(store) == [PREFIX + "a.txt"]
    push(store, source / "d/*")
    assert keys(store) == [PREFIX + name for name in ("a.txt", "b.bin", "e/c.txt")]
    with pytest.raises(NotFound, match="Nothing matches"):
        push(store, source / "*.nothing")
    with pytest.raises(NotFound, match="no file or folder"):
        push(store, source / "absent")


def test_a_file_whose_name_looks_like_a_glob_is_that_file(store: FileStore, source: Path) -> None:
    plant(source, {"x[1].txt": "one", "x1.txt": "another"})
    push(store, source / "x[1].txt")
    assert keys(store) == [PREFIX + "x[1].txt"]


def test_ignored_files_and_excludes_stay(store: FileStore, source: Path) -> None:
    """By the rules that code packaging uses."""
    plant(source, {".gitignore": "d/e/\n", ".git/config": ""})
    push(store, source, "*.bin")
    assert keys(store) == [PREFIX + name for name in (".gitignore", "a.txt", "ä ö.txt")]


def test_a_dry_run_says_what_would_happen_and_does_nothing(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """On both ways, with what --delete would remove."""
    dry = push(store, source, dry_run=True)
    assert (dry.names, dry.summary.transferred) == (sorted(contents(source)), 4)
    assert list(store.objects()) == []
    push(store, source)
    assert pull(store, tmp_path / "target", dry_run=True).summary.transferred == 4
    assert not (tmp_path / "target").exists()
    (source / "a.txt").unlink()
    assert push(store, source, dry_run=True, delete=True).summary.removed == ("a.txt",)
    assert len(keys(store)) == 4


@pytest.mark.parametrize("asked", ["corpus", "corpus/d", "corpus/a.txt", "corpus/*.txt", "URL"])
def test_remove_takes_what_was_named_and_nothing_else(
    store: FileStore, source: Path, asked: str
) -> None:
    """A place, a folder in it, a file, what a pattern matches; what is absent can't be removed."""
    gone = {
        "corpus": {"a.txt", "d/b.bin", "d/e/c.txt", "ä ö.txt"},
        "corpus/d": {"d/b.bin", "d/e/c.txt"},
        "corpus/a.txt": {"a.txt"},
        "corpus/*.txt": {"a.txt", "ä ö.txt"},
        "URL": {"d/b.bin"},
    }[asked]
    push(store, source)
    text = f"{store.url}/{PREFIX}d/b.bin" if asked == "URL" else asked
    found = location.source(text, (), store)
    location.remove(found, [item.name for item in found.items()])
    assert keys(store) == sorted(PREFIX + name for name in contents(source).keys() - gone)
    with pytest.raises(NotFound):
        list(location.source(text, (), store).items())


def test_each_failed_file_is_named_and_the_others_arrive(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """A folder in a file's way and a symlink that leads out stop only their own files."""
    push(store, source)
    target, outside = tmp_path / "target", tmp_path / "outside"
    outside.mkdir()
    (target / "a.txt").mkdir(parents=True)
    (target / "d").symlink_to(outside)
    with pytest.raises(PartlyFailed) as caught:
        pull(store, target)
    assert set(caught.value.failed) == {"a.txt", "d/b.bin", "d/e/c.txt"}
    assert all(name in caught.value.what for name in caught.value.failed)
    assert caught.value.exit_code == 6
    assert contents(outside) == {}
    assert contents(target) == {"ä ö.txt": b"umlaut"}


def test_a_file_in_the_way_of_a_folder_stops_only_what_lies_in_that(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    push(store, source)
    target = plant(tmp_path / "target", {"d": "mine"})
    with pytest.raises(PartlyFailed) as caught:
        pull(store, target)
    assert set(caught.value.failed) == {"d/b.bin", "d/e/c.txt"}
    assert contents(target) == {"d": b"mine", "a.txt": b"alpha", "ä ö.txt": b"umlaut"}


def test_a_link_at_a_files_place_is_replaced_not_written_through(
    store: FileStore, source: Path, tmp_path: Path
) -> None:
    """What it pointed at keeps its bytes."""
    push(store, source)
    precious = plant(tmp_path, {"precious": "keep"}) / "precious"
    (tmp_path / "target").mkdir()
    (tmp_path / "target/a.txt").symlink_to(precious)
    pull(store, tmp_path / "target")
    assert precious.read_text() == "keep"
    assert not (tmp_path / "target/a.txt").is_symlink()


def test_links_are_pushed_as_what_they_point_at_within_the_folder(
    store: FileStore, source: Path
) -> None:
    """What can't be pushed is told, and is no failure."""
    (source / "link").symlink_to("a.txt")
    (source / "folder").symlink_to("d")
    (source / "broken").symlink_to("nowhere")
    summary = push(store, source).summary
    assert store.get(PREFIX + "link").data == b"alpha"
    assert summary.left_out == {
        "broken": "it is a link to nothing",
        "folder": "it is a link to a folder",
    }


class Refusing(FolderSource):
    """Lets one file not be read."""

    def open(self, item: Item) -> Reader:
        if item.name == "a.txt":
            raise PermissionError(errno.EACCES, "Permission denied", item.name)
        return super().open(item)


def test_a_file_that_can_not_be_read_fails_and_the_others_are_pushed(
    store: FileStore, source: Path
) -> None:
    """And goes with the next push, which sends nothing twice."""
    found = location.source(str(source))
    refusing = Refusing(source, found.items)
    with pytest.raises(PartlyFailed, match=r"1 file failed, 3 were.*\na\.txt: Permission"):
        moved(refusing, location.target(PLACE, store))
    assert push(store, source).names == ["a.txt"]


def test_nothing_is_removed_after_a_failure(store: FileStore, source: Path) -> None:
    plant(source, {"old": ""})
    push(store, source)
    (source / "old").unlink()
    (source / "a.txt").write_text("newer")
    refusing = Refusing(source, location.source(str(source)).items)
    with pytest.raises(PartlyFailed):
        moved(refusing, location.target(PLACE, store), delete=True)
    assert PREFIX + "old" in keys(store)


def test_progress_reaches_its_totals(store: FileStore, source: Path, tmp_path: Path) -> None:
    """In bytes and in files, both ways."""
    for sync in (
        lambda meter: push(store, source, meter=meter),
        lambda meter: pull(store, tmp_path / "target", meter=meter),
    ):
        meter = Meter()
        sync(meter)
        assert (meter.bytes_done, meter.bytes_total) == (15, 15)
        assert (meter.files_done, meter.files_total) == (4, 4)
        assert meter.is_listed


def test_outputs_are_pulled_once(store: FileStore, tmp_path: Path) -> None:
    """Those of each node; the object's time decides."""
    for rank in (0, 1):
        store.put(layout.outputs("job-1", rank) + "result.txt", b"42")
    target = tmp_path / "target"
    first = outputs.pull(store, "job-1", target, Options())
    assert (first.transferred, first.size_bytes, first.unchanged) == (2, 4, 0)
    assert contents(target) == {"node-0/result.txt": b"42", "node-1/result.txt": b"42"}
    second = outputs.pull(store, "job-1", target, Options())
    assert (second.transferred, second.size_bytes, second.unchanged) == (0, 0, 2)


def test_a_download_that_cannot_fit_is_not_begun(tmp_path: Path) -> None:
    """And says how much is needed."""
    with pytest.raises(OutOfSpace, match=f"{1 << 60:,} bytes are needed"):
        check_space(tmp_path / "new", 1 << 60)


class TestDelete:
    @pytest.fixture(autouse=True)
    def _pushed(self, store: FileStore, source: Path) -> None:
        push(store, source)

    def test_removes_what_the_source_lacks(self, store: FileStore, source: Path) -> None:
        """…and the folders that are empty then; without the option nothing."""
        (source / "d/e/c.txt").unlink()
        assert push(store, source).summary.removed == ()
        assert PREFIX + "d/e/c.txt" in keys(store)
        assert push(store, source, delete=True).summary.removed == ("d/e/c.txt",)
        assert keys(store) == sorted(PREFIX + name for name in contents(source))
        assert not (store.root / PREFIX / "d/e").exists()

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_of_an_empty_source_is_refused(
        self, store: FileStore, tmp_path: Path, dry_run: bool
    ) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(UsageError, match="would remove all"):
            push(store, tmp_path / "empty", delete=True, dry_run=dry_run)
        assert len(keys(store)) == 4

    def test_asks_first_with_the_names(self, store: FileStore, source: Path) -> None:
        (source / "a.txt").unlink()
        asked: list[object] = []
        with pytest.raises(UsageError, match="Nothing was removed"):
            push(store, source, delete=True, may_remove=asked.append)
        assert asked == [("a.txt",)]
        assert len(keys(store)) == 4

    @pytest.mark.parametrize("is_in_source", [True, False])
    def test_spares_what_is_excluded(
        self, store: FileStore, source: Path, is_in_source: bool
    ) -> None:
        """…whether the source has it or not."""
        if not is_in_source:
            (source / "d/b.bin").unlink()
        assert push(store, source, "*.bin", delete=True).summary.removed == ()
        assert len(keys(store)) == 4

    def test_spares_what_is_ignored(self, store: FileStore, source: Path) -> None:
        plant(source, {".gitignore": "*.bin\n"})
        assert push(store, source, delete=True).summary.removed == ()
        assert PREFIX + "d/b.bin" in keys(store)

    def test_of_a_pattern_spares_what_the_pattern_does_not_mean(
        self, store: FileStore, source: Path
    ) -> None:
        (source / "ä ö.txt").unlink()
        (source / "d/e/c.txt").unlink()
        summary = push(store, source / "*.txt", delete=True).summary
        assert summary.removed == ("ä ö.txt",)

    def test_spares_what_is_growing_and_stores(self, store: FileStore, tmp_path: Path) -> None:
        """…but not a file of the user's that only looks so."""
        target = plant(
            tmp_path / "target",
            {
                ".a.txt.0123456789abcdef.part": "half",
                ".llmcloud/store": "",
                ".git/config": "",
                "film.part": "a film",
            },
        )
        assert pull(store, target, delete=True).summary.removed == ("film.part",)


def test_a_target_within_the_source_does_not_travel_itself(source: Path) -> None:
    """Or each run would go one folder deeper."""
    for _ in range(2):
        done = moved(location.source(str(source)), location.target(str(source / "d" / "copy")))
    assert sorted(contents(source / "d" / "copy")) == ["a.txt", "d/b.bin", "d/e/c.txt", "ä ö.txt"]
    assert done.summary.left_out == {"d/copy/": "it is the target"}
    assert done.left_out == ["d/copy/"]


def test_a_target_around_the_source_is_not_mirrored(source: Path) -> None:
    """Since the source is what the target has and the source has not."""
    with pytest.raises(UsageError, match="lies in the target"):
        moved(location.source(str(source / "d")), location.target(str(source)), delete=True)
    assert len(contents(source)) == 4


def test_a_single_file_removes_none_of_the_others(source: Path, tmp_path: Path) -> None:
    target = plant(tmp_path / "target", {"other.txt": "stays"})
    moved(location.source(str(source / "a.txt")), location.target(str(target)), delete=True)
    assert sorted(contents(target)) == ["a.txt", "other.txt"]


def test_what_the_source_ignores_is_not_removed_even_if_only_the_target_has_it(
    source: Path, tmp_path: Path
) -> None:
    plant(source, {".gitignore": "*.log\n", "d/.llmcloudignore": "cache/\n"})
    files = ["run.log", "d/cache/x", "d/run.log", "cache/x", "extra"]
    target = plant(tmp_path / "target", dict.fromkeys(files, ""))
    done = moved(location.source(str(source)), location.target(str(target)), delete=True)
    assert sorted(done.summary.removed) == ["cache/x", "extra"]


def test_what_the_target_ignores_is_not_removed(store: FileStore, source: Path) -> None:
    """It did not travel when the folder was pushed, so that pulling it back must not lose it."""
    plant(source, {".gitignore": "/.env\n", ".env": "mine"})
    push(store, source)
    plant(source, {"extra": ""})
    assert pull(store, source, delete=True).summary.removed == ("extra",)
    assert (source / ".env").read_text() == "mine"


def test_a_folder_that_can_not_be_read_is_told_as_such(tmp_path: Path) -> None:
    """And not as a bad name, which `sub/` would be."""
    unreadable = Item("sub/", 0, 0.0, problem="it can't be read: Permission denied")
    source = FolderSource(tmp_path, lambda: iter([unreadable]))
    with pytest.raises(PartlyFailed, match="sub/: it can't be read"):
        moved(source, location.target(str(tmp_path / "target")))
