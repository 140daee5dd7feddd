"""What every store must do; runs on each entry of tests/rig/stores.py."""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.rig.trees import ODD_KEYS
from tests.rig.workers import Worker, add_one, is_whole, results, sealed

from llmcloud.runtime.errors import Conflict, InvalidRequest, NotFound, StoreGone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.stores import StoreRig

    from llmcloud.runtime.store import ObjectStore

WRITERS = 8


@pytest.fixture(name="rig")
def _rig(store_rig: StoreRig) -> StoreRig:
    return store_rig


@pytest.fixture(name="store")
def _store(rig: StoreRig, tmp_path: Path) -> Iterator[ObjectStore]:
    with rig.empty_store(tmp_path) as made:
        yield made


def keys(store: ObjectStore, prefix: str = "", start_after: str = "") -> list[str]:
    return [entry.key for entry in store.objects(prefix, start_after=start_after)]


class TestOneObject:
    def test_comes_back_as_it_was_put(self, store: ObjectStore) -> None:
        every_byte = bytes(range(256)) * 3
        etag = store.put("a/b", every_byte)
        assert store.get("a/b").data == every_byte
        assert store.get("a/b").etag == etag
        assert store.head("a/b").key == "a/b"
        assert store.head("a/b").size == len(every_byte)
        assert store.exists("a/b")

    def test_may_be_empty(self, store: ObjectStore) -> None:
        store.put("empty", b"")
        assert store.get("empty").data == b""
        assert store.read("empty", 0, 10) == b""
        assert keys(store) == ["empty"]

    def test_is_replaced_by_a_later_put(self, store: ObjectStore) -> None:
        """…and its etag changes with its bytes."""
        first = store.put("a", b"a longer first")
        second = store.put("a", b"second")
        assert store.get("a").data == b"second"
        assert first != second

    @pytest.mark.parametrize(
        ("start", "size", "expected"),
        [(0, 4, b"0123"), (8, 4, b"89"), (10, 4, b""), (99, 4, b""), (3, 0, b"")],
    )
    def test_can_be_read_in_ranges(
        self, store: ObjectStore, start: int, size: int, expected: bytes
    ) -> None:
        store.put("a", b"0123456789")
        assert store.read("a", start, size) == expected

    def test_travels_to_and_from_files(self, store: ObjectStore, tmp_path: Path) -> None:
        """…also a large one, with the digest of what went over the wire."""
        data = random.Random(1).randbytes(20_000_001)
        (tmp_path / "up").write_bytes(data)
        assert store.put_file("large", tmp_path / "up") == sha256(data).hexdigest()
        assert store.get_file("large", tmp_path / "down") == sha256(data).hexdigest()
        assert (tmp_path / "down").read_bytes() == data
        assert store.head("large").size == len(data)

    def test_is_not_touched_by_a_file_that_cannot_be_opened(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        store.put("a", b"old")
        with pytest.raises(FileNotFoundError):
            store.put_file("a", tmp_path / "absent")
        assert store.get("a").data == b"old"

    def test_is_gone_after_delete(self, store: ObjectStore) -> None:
        """…and deleting it again, or what never was, succeeds."""
        store.put("a/b/c", b"")
        store.delete("a/b/c")
        store.delete("a/b/c")
        store.delete("never/was")
        assert not store.exists("a/b/c")
        assert store.folders("") == []

    def test_is_not_found_when_absent(self, store: ObjectStore, tmp_path: Path) -> None:
        """…nor is what is only the beginning of other keys, nor what would lie beneath an
        object."""
        store.put("a/b/c", b"")
        for key in ("x", "a", "a/b", "a/b/c/d", "x/y/z"):
            with pytest.raises(NotFound):
                store.get(key)
            with pytest.raises(NotFound):
                store.read(key, 0, 1)
            with pytest.raises(NotFound):
                store.head(key)
            with pytest.raises(NotFound):
                store.get_file(key, tmp_path / "down")
            assert not store.exists(key)
            store.delete(key)
        assert keys(store) == ["a/b/c"]


class TestAKey:
    @pytest.mark.parametrize(
        "key",
        [
            *("", "/", "/etc/passwd", "a/", "a//b", "..", "../a", "a/../../b", "a/..", "."),
            *("./a", "a/./b", "a\0b", "\0", "a/\0", "a\nb", "a\x7f", "\udc80", "a/\ud800"),
            *(".llmcloud/store", ".llmcloud/tmp/x", "é" * 128, "a/" * 600 + "a"),
        ],
    )
    def test_that_no_store_could_hold_is_refused(
        self, store: ObjectStore, key: str, tmp_path: Path
    ) -> None:
        """…by every method, and nothing is written anywhere."""
        for refuse in (
            lambda: store.put(key, b"x"),
            lambda: store.put(key, b"x", if_absent=True),
            lambda: store.put_file(key, Path(__file__)),
            lambda: store.get(key),
            lambda: store.read(key, 0, 1),
            lambda: store.get_file(key, tmp_path / "down"),
            lambda: store.head(key),
            lambda: store.delete(key),
        ):
            with pytest.raises(InvalidRequest):
                refuse()
        assert keys(store) == []

    @pytest.mark.parametrize(
        "prefix", ["/", "/etc/", "../", "a/../../", "a//", ".llmcloud/", "\0", "\n"]
    )
    def test_that_no_store_could_hold_is_refused_as_a_prefix(
        self, store: ObjectStore, prefix: str
    ) -> None:
        with pytest.raises(InvalidRequest):
            list(store.objects(prefix))
        with pytest.raises(InvalidRequest):
            store.folders(prefix)

    def test_of_a_folder_ends_in_a_slash(self, store: ObjectStore) -> None:
        with pytest.raises(InvalidRequest):
            store.folders("jobs")

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_that_is_unusual_is_kept_as_it_is(self, store: ObjectStore, key: str) -> None:
        store.put(key, key.encode())
        assert store.get(key).data == key.encode()
        assert keys(store) == [key]
        assert keys(store, key) == [key]
        store.delete(key)
        assert keys(store) == []

    def test_is_refused_or_kept_whatever_it_is(self, rig: StoreRig, store: ObjectStore) -> None:
        def check(key: str) -> None:
            try:
                store.put(key, b"x")
            except InvalidRequest:
                assert keys(store) == []
            else:
                assert keys(store) == [key]
                assert store.get(key).data == b"x"
                store.delete(key)

        rig.prove(200, check, key=st.text(max_size=40))


class TestAListing:
    ORDERED = (
        "Z",
        "a!/x",
        "a.txt",
        "a/b",
        "a/b0",
        "a/c/1",
        "a/c/10",
        "a/c/2",
        "a0",
        "b",
        "é",
        "🦙",
    )

    @pytest.fixture(autouse=True)
    def _filled(self, store: ObjectStore) -> None:
        for key in random.Random(2).sample(self.ORDERED, len(self.ORDERED)):
            store.put(key, key.encode())

    def test_is_in_the_order_of_the_keys_bytes(self, store: ObjectStore) -> None:
        assert keys(store) == sorted(self.ORDERED, key=str.encode) == list(self.ORDERED)
        assert [e.size for e in store.objects()] == [len(k.encode()) for k in self.ORDERED]

    @pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "a/c/", "a/c/1", "a/b/", "b", "c/", "é"])
    def test_holds_what_begins_with_its_prefix(self, store: ObjectStore, prefix: str) -> None:
        assert keys(store, prefix) == [key for key in self.ORDERED if key.startswith(prefix)]

    @pytest.mark.parametrize("start_after", ["a", "a/", "a/c", "a/c/1", "a/c/zz", "a/d", "🦙", "A"])
    @pytest.mark.parametrize("prefix", ["", "a", "a/c/"])
    def test_goes_on_after_a_key(self, store: ObjectStore, prefix: str, start_after: str) -> None:
        """…that need not exist."""
        expected = [k for k in self.ORDERED if k.startswith(prefix) and k > start_after]
        assert keys(store, prefix, start_after) == expected

    def test_names_the_folders_one_level_down(self, store: ObjectStore) -> None:
        assert store.folders("") == ["a", "a!"]
        assert store.folders("a/") == ["c"]
        assert store.folders("a/c/") == []
        assert store.folders("b/") == []
        assert store.folders("nowhere/") == []

    def test_goes_on_while_objects_vanish(self, store: ObjectStore) -> None:
        """…and still holds all that stayed."""
        for number in range(50):
            store.put(f"v/{number:02d}/x", b"")
        listing = store.objects("v/")
        seen = [next(listing).key]
        for number in range(0, 50, 2):
            store.delete(f"v/{number:02d}/x")
        seen += [entry.key for entry in listing]
        assert {f"v/{number:02d}/x" for number in range(1, 50, 2)} <= set(seen)
        assert seen == sorted(set(seen))


class TestAConditionalWrite:
    def test_creates_only_what_is_absent(self, store: ObjectStore) -> None:
        store.put("a", b"first", if_absent=True)
        with pytest.raises(Conflict):
            store.put("a", b"second", if_absent=True)
        assert store.get("a").data == b"first"
        store.delete("a")
        store.put("a", b"third", if_absent=True)
        assert store.get("a").data == b"third"

    def test_replaces_only_what_was_read(self, store: ObjectStore) -> None:
        old = store.put("a", b"old")
        new = store.put("a", b"new", if_match=old)
        with pytest.raises(Conflict):
            store.put("a", b"late", if_match=old)
        assert store.get("a").data == b"new"
        assert store.get("a").etag == new

    def test_does_not_bring_back_what_was_deleted(self, store: ObjectStore) -> None:
        etag = store.put("a/b", b"old")
        store.delete("a/b")
        with pytest.raises(Conflict):
            store.put("a/b", b"late", if_match=etag)
        assert keys(store) == []

    def test_is_won_by_exactly_one_thread(self, rig: StoreRig, store: ObjectStore) -> None:
        with ThreadPoolExecutor(WRITERS) as pool:
            for number in range(rig.times(40)):
                barrier = threading.Barrier(WRITERS)
                race = [
                    pool.submit(_create, store, barrier, f"a/{number}", mine)
                    for mine in range(WRITERS)
                ]
                won = [each.result() for each in race]
                assert won.count(True) == 1
                assert store.get(f"a/{number}").data == b"%d" % won.index(True)

    def test_is_won_by_exactly_one_process(self, rig: StoreRig, store: ObjectStore) -> None:
        """…of 8 that try the same 100 names."""
        count = rig.times(100)
        said = results(
            Worker(store, "create", "a", str(count), str(mine)) for mine in range(WRITERS)
        )
        won = [(key, mine) for mine, keys_ in enumerate(said) for key in keys_.split()]
        assert len(won) == count
        assert {e.key for e in store.objects()} == {key for key, _ in won}
        assert all(store.get(key).data == b"%d" % mine for key, mine in won)

    def test_loses_no_increment_of_8_threads(self, rig: StoreRig, store: ObjectStore) -> None:
        times = rig.times(200)
        store.put("counter", b"0")
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda _: add_one(store, "counter"), range(times)))
        assert store.get("counter").data == b"%d" % times

    def test_loses_no_increment_of_8_processes(self, rig: StoreRig, store: ObjectStore) -> None:
        times = rig.times(50)
        store.put("counter", b"0")
        results(Worker(store, "count", "counter", str(times)) for _ in range(WRITERS))
        assert store.get("counter").data == b"%d" % (times * WRITERS)


def _create(store: ObjectStore, barrier: threading.Barrier, key: str, mine: int) -> bool:
    barrier.wait()
    try:
        store.put(key, b"%d" % mine, if_absent=True)
    except Conflict:
        return False
    return True


class TestAReader:
    def test_never_sees_half_an_object(
        self, rig: StoreRig, store: ObjectStore, tmp_path: Path
    ) -> None:
        """…while another process rewrites it and is killed in the middle, again and again."""
        chance = random.Random(3)
        store.put("a", sealed(b"first"))
        for _ in range(rig.times(15)):
            with Worker(store, "rewrite", "a") as worker:
                worker.wait_until_ready()
                before = store.get("a").data
                worker.go()
                while store.get("a").data == before:
                    pass
                for _ in range(chance.randrange(30)):
                    assert is_whole(store.get("a").data)
                    store.get_file("a", tmp_path / "down")
                    assert is_whole((tmp_path / "down").read_bytes())
            assert is_whole(store.get("a").data)
            assert keys(store) == ["a"]
        store.put("a", b"the next writer is not held up", if_match=store.get("a").etag)

    def test_sees_what_is_written_beside_deletions(self, rig: StoreRig, store: ObjectStore) -> None:
        """…of its neighbours, whose folders come and go."""
        times = str(rig.times(150))
        said = results(Worker(store, "flicker", f"a/b/{n % 3}/{n}", times) for n in range(6))
        assert said == ["done"] * 6
        assert keys(store) == sorted(f"a/b/{n % 3}/{n}" for n in range(6))


class TestAStoreThatIsGone:
    def test_is_called_so_by_every_method(
        self, rig: StoreRig, store: ObjectStore, tmp_path: Path
    ) -> None:
        """…and a late write does not bring it back."""
        etag = store.put("a/b", b"x")
        rig.destroy(store)
        for attempt in (
            lambda: store.put("a/b", b"late"),
            lambda: store.put("a/b", b"late", if_absent=True),
            lambda: store.put("a/b", b"late", if_match=etag),
            lambda: store.put_file("a/b", Path(__file__)),
            lambda: store.get("a/b"),
            lambda: store.read("a/b", 0, 1),
            lambda: store.get_file("a/b", tmp_path / "down"),
            lambda: store.head("a/b"),
            lambda: store.exists("a/b"),
            lambda: list(store.objects()),
            lambda: store.folders(""),
            lambda: store.delete("a/b"),
        ):
            with pytest.raises(StoreGone):
                attempt()

    def test_cuts_no_listing_short_silently(self, rig: StoreRig, store: ObjectStore) -> None:
        for number in range(10):
            store.put(f"{number}/x", b"")
        listing = store.objects()
        seen = [next(listing)]
        rig.destroy(store)
        with contextlib.suppress(StoreGone):
            seen += listing
            assert len(seen) == 10  # it was on its way as a whole

    def test_can_be_created_anew(self, rig: StoreRig, store: ObjectStore) -> None:
        """…and is empty; creating what exists changes nothing."""
        store.put("a", b"x")
        rig.destroy(store)
        store.create()
        assert keys(store) == []
        store.put("a", b"y")
        store.create()
        assert store.get("a").data == b"y"


class StoreAndDictionary(RuleBasedStateMachine):
    """A store that does whatever a dictionary does."""

    KEYS = st.sampled_from(["a", "b.c", "b/1", "b/2/x", "b/2/y", "b0", "c/%2f", "é/é"])
    PREFIXES = st.sampled_from(["", "a", "b", "b/", "b/2/", "c/%", "é/", "z"])
    DATA = st.binary(max_size=8)

    def __init__(self, rig: StoreRig) -> None:
        super().__init__()
        self._open = contextlib.ExitStack()
        folder = self._open.enter_context(tempfile.TemporaryDirectory())
        self.store = self._open.enter_context(rig.empty_store(Path(folder)))
        self.model: dict[str, bytes] = {}

    def teardown(self) -> None:
        self._open.close()

    @rule(key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        self.store.put(key, data)
        self.model[key] = data

    @rule(key=KEYS, data=DATA)
    def create(self, key: str, data: bytes) -> None:
        if key in self.model:
            with pytest.raises(Conflict):
                self.store.put(key, data, if_absent=True)
        else:
            self.store.put(key, data, if_absent=True)
            self.model[key] = data

    @rule(key=KEYS, data=DATA, other=DATA)
    def swap(self, key: str, data: bytes, other: bytes) -> None:
        if key in self.model:
            etag = self.store.get(key).etag
            self.store.put(key, other)
            if other != self.model[key]:
                with pytest.raises(Conflict):
                    self.store.put(key, data, if_match=etag)
            self.store.put(key, data, if_match=self.store.get(key).etag)
            self.model[key] = data

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(prefix=PREFIXES, start_after=KEYS)
    def list(self, prefix: str, start_after: str) -> None:
        expected = sorted(k for k in self.model if k.startswith(prefix) and k > start_after)
        assert keys(self.store, prefix, start_after) == expected

    @rule(prefix=st.sampled_from(["", "b/", "b/2/", "c/"]))
    def folders(self, prefix: str) -> None:
        beneath = [k.removeprefix(prefix) for k in self.model if k.startswith(prefix)]
        assert self.store.folders(prefix) == sorted({k.split("/")[0] for k in beneath if "/" in k})

    @invariant()
    def holds_the_same(self) -> None:
        assert {e.key: self.store.get(e.key).data for e in self.store.objects()} == self.model


def test_a_store_does_what_a_dictionary_does(rig: StoreRig) -> None:
    run_state_machine_as_test(
        lambda: StoreAndDictionary(rig),
        settings=settings(max_examples=rig.times(40), stateful_step_count=30),
    )
