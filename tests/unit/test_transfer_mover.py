"""What a transfer makes of sources that lie, change, vanish or name what lies elsewhere."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.trees import contents, moved, plant

from llmcloud.core import location
from llmcloud.core.errors import UsageError
from llmcloud.core.transfer import retry
from llmcloud.core.transfer.crc32c import crc32c
from llmcloud.core.transfer.errors import Changed, OutOfSpace, PartlyFailed
from llmcloud.core.transfer.folder import FolderSource, FolderTarget
from llmcloud.core.transfer.meter import Meter
from llmcloud.core.transfer.route import THREADS
from llmcloud.core.transfer.sides import Item, Reader, Source
from llmcloud.core.transfer.store import StoreSource
from llmcloud.runtime.bucket_api import PART_BYTES
from llmcloud.runtime.errors import Failure, Throttled, Unavailable
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.core.transfer.sides import Sink
    from llmcloud.runtime.objects import Piece

MIB = 1 << 20
SMALL = b"small"
LARGE = b"1" * PART_BYTES + b"2" * PART_BYTES + b"3" * 1000
SIZES = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACKOFF_S", 0.0001)


class Held(Source):
    """Items in memory, with their digests; `before` is called at each read and may change bytes."""

    url = "memory"

    def __init__(self, tree: dict[str, bytes]) -> None:
        self.tree = tree
        self.before: Callable[[str, int, bytes], bytes] = lambda _, __, data: data
        self.asked: list[tuple[str, int]] = []
        self.open_now: list[HeldReader] = []
        self.most_open = 0

    def items(self) -> Iterator[Item]:
        return (
            Item(name, len(data), 1000.0, 0.0, "version 1")
            for name, data in sorted(self.tree.items())
        )

    def open(self, item: Item) -> Reader:
        return HeldReader(self, item.name)

    def crc32c(self, item: Item) -> int | None:
        return crc32c(self.tree[item.name])


class HeldReader(Reader):
    def __init__(self, source: Held, name: str) -> None:
        self.source, self.name = source, name
        source.open_now.append(self)
        source.most_open = max(source.most_open, len(source.open_now))

    def chunks(self, start: int, size: int) -> Iterator[Any]:
        self.source.asked.append((self.name, start))
        self.crc32c = crc32c(self.source.tree[self.name])
        yield self.source.before(self.name, start, self.source.tree[self.name][start:][:size])

    def check(self) -> None:
        pass

    def close(self) -> None:
        self.source.open_now.remove(self)


class Times:
    """Does a deed to what is read the first so many times."""

    def __init__(self, count: float, deed: Callable[[bytes], bytes]) -> None:
        self.left, self.deed = count, deed
        self._lock = threading.Lock()

    def __call__(self, name: str, _: int, data: bytes) -> bytes:
        with self._lock:
            is_it = name == "bad" and self.left > 0
            self.left -= is_it
        return self.deed(data) if is_it else data


def garbled(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def failing(failure: Failure | OSError) -> Callable[[bytes], bytes]:
    def fail(_: bytes) -> bytes:
        raise failure

    return fail


class Chunked(Held):
    """Yields its bytes in many buffers; `seen` is what `meter` says before each."""

    def __init__(self, tree: dict[str, bytes], meter: Meter) -> None:
        super().__init__(tree)
        self.meter = meter
        self.seen: list[int] = []

    def open(self, item: Item) -> Reader:
        reader = super().open(item)
        whole = reader.chunks

        def chunks(start: int, size: int) -> Iterator[Any]:
            for data in whole(start, size):
                for at in range(0, len(data), MIB):
                    self.seen.append(self.meter.bytes_done)
                    yield self.before(item.name, start + at, data[at : at + MIB])

        reader.chunks = chunks  # type: ignore[method-assign]
        return reader


def test_a_download_is_counted_as_it_comes_and_once(tmp_path: Path) -> None:
    """A part that broke off takes back what it counted."""
    meter = Meter()
    source = Chunked({"bad": LARGE[: 2 * PART_BYTES]}, meter)

    def reset(_: str, start: int, data: bytes) -> bytes:
        if start == PART_BYTES - MIB and source.asked.count(("bad", 0)) == 1:
            raise Unavailable("reset")
        return data

    source.before = reset
    moved(source, FolderTarget(tmp_path / "target"), meter=meter)
    assert source.asked.count(("bad", 0)) == 2
    assert len({done % PART_BYTES for done in source.seen}) > 2
    assert max(source.seen) < 2 * PART_BYTES
    assert meter.bytes_done == meter.bytes_total == 2 * PART_BYTES
    assert contents(tmp_path / "target") == source.tree


@SIZES
class TestASource:
    @pytest.fixture
    def source(self, data: bytes) -> Held:
        return Held({"bad": data, "good": b"good"})

    @pytest.mark.parametrize(
        "deed", [garbled, failing(Throttled("slow")), failing(Unavailable("reset"))]
    )
    def test_that_fails_once_is_asked_again(
        self, source: Held, tmp_path: Path, deed: Callable[[bytes], bytes]
    ) -> None:
        """Whether it says so or its bytes are not those of their digest; each file comes once."""
        source.before = Times(1, deed)
        meter = Meter()
        assert moved(source, FolderTarget(tmp_path / "target"), meter=meter).names == [
            "bad",
            "good",
        ]
        assert contents(tmp_path / "target") == source.tree
        assert meter.bytes_done == meter.bytes_total == sum(map(len, source.tree.values()))
        assert source.open_now == []

    @pytest.mark.parametrize(
        ("deed", "reason"),
        [
            (garbled, "not those that were saved"),
            (failing(Unavailable("reset")), "reset"),
            (failing(Changed("It changed.")), "It changed."),
            (failing(FileNotFoundError(2, "No such file or directory")), "No such file"),
        ],
    )
    def test_that_always_fails_is_named_and_the_others_arrive(
        self, source: Held, tmp_path: Path, deed: Callable[[bytes], bytes], reason: str
    ) -> None:
        """And no wrong file appears."""
        source.before = Times(float("inf"), deed)
        with pytest.raises(PartlyFailed) as caught:
            moved(source, FolderTarget(tmp_path / "target"))
        assert reason in caught.value.failed.pop("bad")
        assert caught.value.failed == {}
        found = contents(tmp_path / "target")
        assert found.pop("good") == b"good"
        assert all(name.endswith(".part") for name in found)
        assert not found or deed is not garbled
        assert source.open_now == []

    def test_that_is_mended_is_moved_by_the_next_try(self, source: Held, tmp_path: Path) -> None:
        """Which asks only for what is not here."""
        source.before = Times(float("inf"), garbled)
        target = FolderTarget(tmp_path / "target")
        with pytest.raises(PartlyFailed):
            moved(source, target)
        source.before, source.asked = Times(0, garbled), []
        assert moved(source, target).names == ["bad"]
        assert contents(tmp_path / "target") == source.tree
        assert {name for name, _ in source.asked} == {"bad"}

    def test_whose_target_is_full_ends_all_at_once(self, source: Held, tmp_path: Path) -> None:
        full = OutOfSpace("full")
        source.before = Times(float("inf"), failing(full))
        with pytest.raises(OutOfSpace):
            moved(source, FolderTarget(tmp_path / "target"))


def test_a_large_file_that_cannot_be_begun_is_named_and_the_others_arrive(tmp_path: Path) -> None:
    class Refusing(FolderTarget):
        def begin(self, item: Item, whole_crc32c: Callable[[], int]) -> Sink:
            raise Failure("not here")

    source = Held({"bad": LARGE, "good": b"good"})
    with pytest.raises(PartlyFailed) as caught:
        moved(source, Refusing(tmp_path))
    assert caught.value.failed == {"bad": "not here"}
    assert contents(tmp_path) == {"good": b"good"}
    assert source.open_now == []


@pytest.mark.parametrize(
    "name",
    ["../out", "/etc/out", "a/../../out", "..", ".", "", "a//b", "a/", ".llmcloud/x", "a\0b", "\n"],
)
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    """And the others arrive."""
    with pytest.raises(PartlyFailed) as caught:
        moved(Held({name: b"bad", "good": b"good"}), FolderTarget(tmp_path / "deep" / "target"))
    assert list(caught.value.failed) == [name]
    assert contents(tmp_path) == {"deep/target/good": b"good"}


def test_no_more_files_are_open_than_threads_work(tmp_path: Path) -> None:
    source = Held({f"{number:04}": b"x" for number in range(1000)})
    moved(source, FolderTarget(tmp_path))
    assert source.most_open <= sum(THREADS)
    assert len(contents(tmp_path)) == 1000


class Restless(FolderSource):
    """A folder whose files change while they are read."""

    def open(self, item: Item) -> Reader:
        reader = super().open(item)
        check = reader.check

        def changed_before() -> None:
            with (self.path / item.name).open("ab") as file:
                file.write(b"more")
            check()

        reader.check = changed_before  # type: ignore[method-assign]
        return reader

    @property
    def path(self) -> Path:
        return Path(self.root)


@SIZES
def test_a_file_that_changes_while_it_is_read_does_not_appear(tmp_path: Path, data: bytes) -> None:
    root = plant(tmp_path / "source", {"a": data})
    source = Restless(root, location.source(str(root)).items)
    with pytest.raises(PartlyFailed) as caught:
        moved(source, FolderTarget(tmp_path / "target"))
    assert "changed while it was read" in caught.value.failed["a"]
    assert "a" not in contents(tmp_path / "target")


@SIZES
def test_a_file_that_went_since_it_was_listed_is_named(tmp_path: Path, data: bytes) -> None:
    root = plant(tmp_path / "source", {"a": data, "b": b"b"})
    found = location.source(str(root))
    listed = list(found.items())
    (root / "a").unlink()
    with pytest.raises(PartlyFailed) as caught:
        moved(FolderSource(root, lambda: iter(listed)), FolderTarget(tmp_path / "target"))
    assert list(caught.value.failed) == ["a"]
    assert contents(tmp_path / "target") == {"b": b"b"}


def test_two_versions_of_an_object_in_a_folder_are_not_mixed(tmp_path: Path) -> None:
    """Though no version tells them apart, and their sizes are the same."""
    other = bytes(reversed(LARGE))
    store = FileStore(tmp_path / "store")
    store.create()
    store.put("p/a", LARGE)
    piece = store.piece

    def rewritten(key: str, start: int, size: int, version: str = "") -> Piece:
        found = piece(key, start, size, version)
        if start == PART_BYTES:
            store.put(key, other)
        return found

    store.piece = rewritten  # type: ignore[method-assign]
    with pytest.raises(PartlyFailed, match="changed while it was read"):
        moved(StoreSource(store, "p/"), FolderTarget(tmp_path / "target"))
    assert "a" not in contents(tmp_path / "target")


def test_two_pulls_at_once_leave_whole_files_only(tmp_path: Path) -> None:
    """Who meets the other on a file says so; the next pull has nothing to say."""
    tree = {f"{number:03}": b"%d" % number * 100 for number in range(300)}
    target = tmp_path / "target"
    failed: list[str] = []

    def pull() -> None:
        try:
            moved(Held(tree), FolderTarget(target))
        except PartlyFailed as failure:
            failed.extend(failure.failed.values())

    both = [threading.Thread(target=pull) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert contents(target) == tree
    assert set(failed) <= {"Another command is writing this."}
    assert moved(Held(tree), FolderTarget(target)).names == []


def test_names_of_any_length_can_grow(tmp_path: Path) -> None:
    """Also in a folder whose own name is no Unicode."""
    target = tmp_path / os.fsdecode(b"\xff")
    tree = {"🦙" * 63: SMALL, "é" * 127: LARGE, "k" * 255: SMALL}
    moved(Held(tree), FolderTarget(target))
    assert contents(target) == tree


def test_a_link_in_the_place_of_what_grows_is_not_written_through(tmp_path: Path) -> None:
    precious = plant(tmp_path, {"precious": b"keep"}) / "precious"
    target = FolderTarget(tmp_path / "target")
    (tmp_path / "target").mkdir()
    source = Held({"a": SMALL})
    (item,) = source.items()
    Path(target._growing(item, f"{target.root}/a").hidden).symlink_to(precious)
    with pytest.raises((PartlyFailed, UsageError)):
        moved(source, target)
    assert precious.read_bytes() == b"keep"
