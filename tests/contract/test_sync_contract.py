"""What a transfer between a folder and a store does, whatever store; and between two of them."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from tests.rig.trees import ODD_KEYS, Moved, contents, moved, plant

from llmcloud.core import location
from llmcloud.core.errors import UsageError
from llmcloud.core.ignore import IGNORE_FILES
from llmcloud.core.transfer import store as store_side
from llmcloud.core.transfer.crc32c import crc32c
from llmcloud.core.transfer.errors import PartlyFailed
from llmcloud.core.transfer.meter import Meter
from llmcloud.core.transfer.sides import Item
from llmcloud.runtime.bucket import BucketStore
from llmcloud.runtime.bucket_api import PART_BYTES
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.objects import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rig.stores import StoreRig

    from llmcloud.core.transfer.sides import Source, Target
    from llmcloud.runtime.store import ObjectStore

HOUR_S = 3600
TREE = {"a.txt": b"alpha", "d/b.bin": bytes(range(256)), "d/e/c.txt": b"", "ä ö.txt": b"umlaut"}
LARGE = b"".join(bytes([number]) * PART_BYTES for number in (1, 2)) + b"the end"  # three parts


@pytest.fixture
def store(store_rig: StoreRig, tmp_path: Path) -> Iterator[ObjectStore]:
    with store_rig.empty_store(tmp_path) as made:
        yield made


@pytest.fixture
def bucket(bucket_rig: StoreRig, tmp_path: Path) -> Iterator[BucketStore]:
    with bucket_rig.empty_store(tmp_path) as made:
        assert isinstance(made, BucketStore)
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return planted(tmp_path / "source", TREE)


def planted(root: Path, files: dict[str, bytes]) -> Path:
    """Write files that are an hour old."""
    for name in plant(root, files) and files:
        aged(root / name)
    return root


def aged(path: Path) -> None:
    then = time.time() - HOUR_S
    os.utime(path, (then, then))


def folder(path: Path | str, *exclude: str) -> Source:
    """Return a folder whose files' inodes are an hour old as well, which nobody can set."""
    found = location.source(str(path), exclude)
    items = found.items

    def older() -> Iterator[Item]:
        return (item._replace(changed_at=item.changed_at - HOUR_S) for item in items())

    found.items = older  # type: ignore[method-assign]
    return found


def there(store: ObjectStore, name: str = "place", *exclude: str) -> Source:
    return location.source(f"{store.url}/{name}", exclude)


def to(store: ObjectStore, name: str = "place") -> Target:
    return location.target(f"{store.url}/{name}")


def push(store: ObjectStore, source: Path | str, *exclude: str, **options: object) -> Moved:
    return moved(folder(source, *exclude), to(store), **options)


def pull(store: ObjectStore, target: Path, *exclude: str, **options: object) -> Moved:
    return moved(there(store, "place", *exclude), location.target(str(target)), **options)


def held(store: ObjectStore, name: str = "place") -> dict[str, bytes]:
    begin = len(name) + 1
    return {e.key[begin:]: store.get(e.key).data for e in store.objects(f"{name}/")}


def is_taken(store: ObjectStore, name: str) -> bool:
    """Tell whether a file of this name can go to a place of the store."""
    return len(name) < 1000 and not to(store, "place-0000").refuse(Item(name, 0, 0.0))


def travels(name: str) -> bool:
    return not {".git", PRIVATE, *IGNORE_FILES}.intersection(name.split("/"))


def apart(names: list[str]) -> list[str]:
    """Return the names but for those that a folder of another's has."""
    taken = {"/".join(n.split("/")[:depth]) for n in names for depth in range(1, n.count("/") + 1)}
    return [name for name in names if name not in taken]


PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
NAMES = st.lists(PART, min_size=1, max_size=3).map("/".join).filter(travels)
TREES = st.lists(NAMES, min_size=1, max_size=8, unique=True).map(apart)
FRESH = itertools.count()


class TestATree:
    def test_comes_back_as_it_was(
        self, store_rig: StoreRig, store: ObjectStore, tmp_path: Path
    ) -> None:
        """…any: names, bytes, sizes and empty files; empty folders don't travel."""

        def check(names: list[str], data: st.DataObject) -> None:
            number = next(FRESH)
            names = [each for each in names if is_taken(store, each)]
            assume(names)
            tree = {name: data.draw(st.binary(max_size=100)) for name in names}
            source = planted(tmp_path / f"source-{number}", tree)
            (source / "empty folder" / "in it").mkdir(parents=True)
            place, target = f"place-{number}", tmp_path / f"target-{number}"
            pushed = moved(folder(source), to(store, place))
            assert pushed.names == sorted(tree)
            assert pushed.summary.size_bytes == sum(map(len, tree.values()))
            assert held(store, place) == tree
            listed = {item.name: item.size for item in there(store, place).items()}
            assert listed == {name: len(data) for name, data in tree.items()}
            moved(there(store, place), location.target(str(target)))
            assert contents(target) == tree
            assert not (target / "empty folder").exists()
            assert moved(folder(source), to(store, place)).names == []
            assert moved(there(store, place), location.target(str(target))).names == []

        store_rig.prove(50, check, names=TREES, data=st.data())

    def test_may_have_odd_names(self, store: ObjectStore, tmp_path: Path) -> None:
        """…those that the store can hold, but for a store within the tree, which stays."""
        tree = {key: key.encode() for key in ODD_KEYS if is_taken(store, key)}
        push(store, plant(tmp_path / "source", tree))
        del tree["a/.llmcloud/b"]
        assert held(store) == tree
        pull(store, tmp_path / "target")
        assert contents(tmp_path / "target") == tree

    @pytest.mark.parametrize("name", ["a\nb", "\x7f", "d/\x1b[2J"])
    def test_names_what_no_store_can_hold(
        self, store: ObjectStore, source: Path, name: str
    ) -> None:
        """…as failed, and the rest arrives."""
        plant(source, {name: b"odd"})
        with pytest.raises(PartlyFailed) as caught:
            push(store, source)
        assert list(caught.value.failed) == [name]
        assert held(store) == TREE

    def test_goes_on_to_another_place(self, store: ObjectStore, source: Path) -> None:
        """…of the same store, and what is there already is not sent."""
        push(store, source)
        assert moved(there(store), to(store, "other")).names == sorted(TREE)
        assert held(store, "other") == TREE
        again = moved(there(store), to(store, "other"))
        assert (again.names, again.summary.unchanged) == ([], len(TREE))

    def test_of_1100_files_is_compared_in_pages(self, store: ObjectStore, tmp_path: Path) -> None:
        """…and only what is not there is sent."""
        count = 1100
        tree = {f"{number % 7}/{number:04}": b"%d" % number for number in range(count)}
        source = planted(tmp_path / "source", tree)
        half = [f"/{number}/" for number in range(4)]
        first = push(store, source, *half).names
        assert len(first) == 471
        second = push(store, source)
        assert second.names == sorted(tree.keys() - set(first))
        assert second.summary.unchanged == len(first)
        assert push(store, source).names == []


class TestWhatIsUnchanged:
    @pytest.fixture(autouse=True)
    def _pushed(self, store: ObjectStore, source: Path) -> None:
        push(store, source)

    def test_is_not_sent_again(self, store: ObjectStore, source: Path, tmp_path: Path) -> None:
        """…in neither direction; also one file alone."""
        meter = Meter()
        assert push(store, source, meter=meter).summary.unchanged == len(TREE)
        assert (meter.files_total, meter.bytes_total, meter.bytes_done) == (0, 0, 0)
        assert push(store, source / "a.txt").names == []
        target = tmp_path / "target"
        pull(store, target)
        assert pull(store, target).names == []

    def test_is_what_has_the_size_and_no_later_change(
        self, store: ObjectStore, source: Path
    ) -> None:
        """…of bytes, of time, or of the inode: so `cp -p` and `mv` over it are seen."""
        now = time.time() + 2  # some services tell whole seconds
        (source / "a.txt").write_bytes(b"beta!")
        os.utime(source / "a.txt", (now, now))
        (source / "d/b.bin").write_bytes(b"other size")
        aged(source / "d/b.bin")
        assert push(store, source).names == ["a.txt", "d/b.bin"]
        before = (source / "ä ö.txt").stat()
        (source / "copied").write_bytes(b"UMLAUT")
        os.utime(source / "copied", ns=(before.st_atime_ns, before.st_mtime_ns))
        (source / "copied").replace(source / "ä ö.txt")
        again = moved(location.source(str(source)), to(store))
        assert "ä ö.txt" in again.names
        assert held(store) == contents(source)

    def test_is_what_has_the_digest_with_checksum(
        self, store: ObjectStore, source: Path, tmp_path: Path
    ) -> None:
        """…whatever the times say: one that is touched only is not sent, one that lies is."""
        target = tmp_path / "target"
        pull(store, target)
        later = time.time() + 2
        os.utime(source / "d/b.bin", (later, later))
        (source / "a.txt").write_bytes(b"ALPHA")
        aged(source / "a.txt")
        assert push(store, source, checksum=True).names == ["a.txt"]
        assert pull(store, target, checksum=True).names == ["a.txt"]
        assert contents(target) == contents(source)

    def test_is_not_what_was_deleted_there(self, store: ObjectStore, source: Path) -> None:
        store.delete("place/a.txt")
        assert push(store, source).names == ["a.txt"]

    def test_is_not_what_is_newer_there(
        self, store: ObjectStore, source: Path, tmp_path: Path
    ) -> None:
        """…when it is pulled: the target becomes what the source is."""
        target = tmp_path / "target"
        pull(store, target)
        (target / "a.txt").write_bytes(b"edited")
        assert pull(store, target).names == ["a.txt"]
        assert contents(target) == TREE


class TestWhatTravels:
    @pytest.fixture(autouse=True)
    def _pushed(self, store: ObjectStore, source: Path) -> None:
        push(store, source)

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("place", sorted(TREE)),
            ("place/", sorted(TREE)),
            ("place/d", ["b.bin", "e/c.txt"]),
            ("place/a.txt", ["a.txt"]),
            ("place/d/e/c.txt", ["c.txt"]),
            ("place/*.txt", ["a.txt", "ä ö.txt"]),
            ("place/*", sorted(TREE)),
            ("place/d/*", ["b.bin", "e/c.txt"]),
            ("place/**/*.txt", ["a.txt", "d/e/c.txt", "ä ö.txt"]),
            ("pl?ce/[ab].txt", ["place/a.txt"]),
            ("place/[!a]*.txt", ["ä ö.txt"]),
        ],
    )
    def test_is_a_file_or_a_folder_or_what_a_pattern_means(
        self, store: ObjectStore, tmp_path: Path, text: str, names: list[str]
    ) -> None:
        """…a pattern's names begin at its first wildcard."""
        found = moved(there(store, text), location.target(str(tmp_path / "target")))
        assert found.names == names
        assert sorted(contents(tmp_path / "target")) == names

    @pytest.mark.parametrize("text", ["plac", "place/a", "place/*.none", "place/a.txt/x"])
    def test_is_found_or_it_is_an_error(
        self, store: ObjectStore, tmp_path: Path, text: str
    ) -> None:
        with pytest.raises(NotFound):
            moved(there(store, text), location.target(str(tmp_path / "target")))
        assert not (tmp_path / "target").exists()

    def test_is_not_what_is_excluded(self, store: ObjectStore, tmp_path: Path) -> None:
        assert pull(store, tmp_path / "target", "*.txt", "!a.txt").names == ["a.txt", "d/b.bin"]

    def test_is_nothing_in_a_dry_run(
        self, store: ObjectStore, source: Path, tmp_path: Path
    ) -> None:
        """…which says what would be, on both ways."""
        plant(source, {"new": b"n"})
        (source / "a.txt").unlink()
        summary = push(store, source, dry_run=True, delete=True).summary
        assert (summary.transferred, summary.size_bytes, summary.unchanged) == (1, 1, 3)
        assert summary.removed == ("a.txt",)
        assert held(store) == TREE
        assert pull(store, tmp_path / "target", dry_run=True).names == sorted(TREE)
        assert not (tmp_path / "target").exists()


class TestDelete:
    @pytest.fixture(autouse=True)
    def _pushed(self, store: ObjectStore, source: Path) -> None:
        push(store, source)

    def test_removes_what_the_source_lacks(
        self, store: ObjectStore, source: Path, tmp_path: Path
    ) -> None:
        """…on both ways, and nothing beside the target."""
        store.put("place2/kept", b"x")
        target = plant(tmp_path / "target", {"mine": b"x", "d/mine": b"x"})
        assert sorted(pull(store, target, delete=True).summary.removed) == ["d/mine", "mine"]
        assert contents(target) == TREE
        (source / "d/e/c.txt").unlink()
        (source / "a.txt").unlink()
        removed = push(store, source, delete=True).summary.removed
        assert sorted(removed) == ["a.txt", "d/e/c.txt"]
        assert held(store) == contents(source)
        assert store.exists("place2/kept")

    def test_spares_what_is_excluded_or_ignored(
        self, store: ObjectStore, source: Path, tmp_path: Path
    ) -> None:
        """…on both ways."""
        plant(source, {".gitignore": b"a.txt\n"})
        assert push(store, source, "*.bin", delete=True).summary.removed == ()
        (source / "d/b.bin").unlink()
        assert push(store, source, "*.bin", delete=True).summary.removed == ()
        assert {"a.txt", "d/b.bin"} <= held(store).keys()
        target = plant(tmp_path / "target", {"mine.log": b"x", "mine": b"x"})
        assert pull(store, target, "*.log", delete=True).summary.removed == ("mine",)

    def test_of_a_pattern_spares_what_it_does_not_mean(
        self, store: ObjectStore, source: Path
    ) -> None:
        (source / "a.txt").unlink()
        (source / "d/b.bin").unlink()
        assert push(store, str(source / "*.txt"), delete=True).summary.removed == ("a.txt",)

    def test_is_asked_for_and_refused_of_an_empty_source(
        self, store: ObjectStore, source: Path, tmp_path: Path
    ) -> None:
        (source / "a.txt").unlink()
        with pytest.raises(UsageError, match="Nothing was removed"):
            push(store, source, delete=True, may_remove=lambda _: False)
        (tmp_path / "empty").mkdir()
        with pytest.raises(UsageError, match="would remove all"):
            push(store, tmp_path / "empty", delete=True)
        assert held(store) == TREE


class TestALargeFile:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return planted(tmp_path / "source", {"large": LARGE})

    def test_travels_in_parts(self, store: ObjectStore, source: Path, tmp_path: Path) -> None:
        """…there and back, and on to another place of the store."""
        meter = Meter()
        push(store, source, meter=meter)
        assert (meter.bytes_done, meter.files_done) == (len(LARGE), 1)
        moved(there(store), to(store, "other"))
        moved(there(store, "other"), location.target(str(tmp_path / "target")))
        assert (tmp_path / "target/large").read_bytes() == LARGE
        assert [entry.key for entry in store.objects()] == ["other/large", "place/large"]

    def test_that_is_only_touched_is_not_sent(self, store: ObjectStore, source: Path) -> None:
        """…as its digest is compared; one that changed is."""
        push(store, source)
        later = time.time() + 2
        os.utime(source / "large", (later, later))
        again = push(store, source)
        assert (again.names, again.summary.unchanged) == ([], 1)
        (source / "large").write_bytes(LARGE[:-1] + b"!")
        os.utime(source / "large", (later, later))
        assert push(store, source).names == ["large"]
        assert store.read("place/large", len(LARGE) - 7, 7) == b"the en!"


class TestAPushThatWasCutOff:
    """Its parts are at the service, as tests/e2e/test_transfers.py shows by a real kill."""

    def test_sends_only_the_rest(
        self, bucket: BucketStore, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leave_parts(bucket, LARGE, 1, 2)
        assert held(bucket) == {}
        sent = []
        put = store_side._UploadSink.put

        def counted(sink: store_side._UploadSink, number: int, chunks: Iterator[Any]) -> int:
            sent.append(number)
            return put(sink, number, chunks)

        monkeypatch.setattr(store_side._UploadSink, "put", counted)
        push(bucket, planted(source / "only", {"large": LARGE}))
        assert sent == [3]
        assert held(bucket) == {"large": LARGE}
        assert list(bucket.api.unfinished("place/")) == []

    def test_of_another_file_is_not_gone_on_with(self, bucket: BucketStore, source: Path) -> None:
        """…where the file changed meanwhile: parts are compared."""
        leave_parts(bucket, LARGE, 1, 2)
        other = b"another" + LARGE[7:]
        push(bucket, planted(source / "only", {"large": other}))
        assert held(bucket) == {"large": other}
        assert list(bucket.api.unfinished("place/")) == []

    def test_several_times_leaves_nothing_behind(self, bucket: BucketStore, source: Path) -> None:
        for _ in range(3):
            leave_parts(bucket, LARGE, 1)
        push(bucket, planted(source / "only", {"large": LARGE}))
        assert held(bucket) == {"large": LARGE}
        assert list(bucket.api.unfinished("")) == []


def leave_parts(bucket: BucketStore, data: bytes, *numbers: int) -> None:
    """Begin to upload `place/large` and end in the middle of it."""
    upload = bucket.api.begin("place/large", len(data), lambda: crc32c(data))
    for number in numbers:
        part = data[(number - 1) * PART_BYTES : number * PART_BYTES]
        upload.put(number, part, crc32c(part))


class TestAnObject:
    def test_that_is_not_what_its_digest_says_is_not_pulled(
        self, bucket: BucketStore, tmp_path: Path
    ) -> None:
        """…and the others are."""
        bucket.write("place/bad", b"changed", crc32c(b"written"))
        bucket.write("place/good", b"written", crc32c(b"written"))
        with pytest.raises(PartlyFailed) as caught:
            pull(bucket, tmp_path / "target")
        assert list(caught.value.failed) == ["bad"]
        assert contents(tmp_path / "target") == {"good": b"written"}

    def test_that_others_wrote_is_pulled_without_a_digest(
        self, bucket: BucketStore, tmp_path: Path
    ) -> None:
        bucket.put("place/a", b"by another tool")
        pull(bucket, tmp_path / "target")
        assert contents(tmp_path / "target") == {"a": b"by another tool"}

    def test_may_lie_under_another(self, bucket: BucketStore, tmp_path: Path) -> None:
        """…which a folder can't hold: one of the two is named as failed."""
        bucket.put("place/a", b"file")
        bucket.put("place/a/b", b"below")
        bucket.put("place/c", b"beside")
        moved(there(bucket), to(bucket, "other"))
        assert held(bucket, "other") == {"a": b"file", "a/b": b"below", "c": b"beside"}
        with pytest.raises(PartlyFailed) as caught:
            pull(bucket, tmp_path / "target")
        assert set(caught.value.failed) < {"a", "a/b"}
        assert contents(tmp_path / "target")["c"] == b"beside"
