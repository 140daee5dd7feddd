"""What a transfer does when the network or the store fails it; see tests/rig/wires.py."""

from __future__ import annotations

import contextlib
import functools
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from tests.rig.faults import Do, Fault, Match
from tests.rig.wires import ON_ONE, WIRES, Wire, WiredBucket, bucket_behind_proxy

from llmcloud.core import location
from llmcloud.core.stores import open_store
from llmcloud.core.sync import Options, Summary, sync
from llmcloud.core.transfer import retry
from llmcloud.core.transfer.crc32c import crc32c
from llmcloud.core.transfer.errors import PartlyFailed
from llmcloud.runtime import bucket_api, bucket_requests
from llmcloud.runtime.bucket_api import PART_BYTES
from llmcloud.runtime.errors import (
    Conflict,
    CredentialsError,
    PermissionDenied,
    Throttled,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulators

Tree = dict[str, bytes]

FEW = {f"{n:03}": random.Random(n).randbytes(500) for n in range(5)}
MANY = {f"{n:03}": random.Random(n).randbytes(500) for n in range(200)}
LARGE = {"large": random.Random(0).randbytes(2 * PART_BYTES + 1000)}
BOTH = {**FEW, **LARGE}

SENDING = [
    Fault(Do.RESET_REQUEST, at=100),
    Fault(Do.FLIP_REQUEST, at=100),
    Fault(Do.LOSE_ANSWER),
    Fault(Do.HOLD_REQUEST, at=100),
]
FETCHING = [
    Fault(Do.RESET_ANSWER, at=100),
    Fault(Do.CUT_ANSWER, at=100),
    Fault(Do.FLIP_ANSWER, at=100),
    Fault(Do.LOSE_ANSWER),
    Fault(Do.HOLD_ANSWER),
    Fault(Do.HOLD_ANSWER, at=100),
    Fault(Do.DRIP_ANSWER, at=100),
]
OF_PARTS = FETCHING[:-2]  # a large one waits for a stalled answer as a small one does


@dataclass(frozen=True)
class Cloud(WiredBucket):
    """A new bucket behind a proxy, and a folder."""

    folder: Path

    def plant(self, tree: Tree, name: str = "source") -> str:
        folder = self.folder / name
        folder.mkdir()
        for each, data in tree.items():
            (folder / each).write_bytes(data)
        return str(folder)

    def fill(self, tree: Tree, prefix: str = "source") -> str:
        """Have a tree in the bucket, and nothing counted."""
        url = f"{self.url}/{prefix}"
        copy(self.plant(tree, f"filled-{prefix}"), url)
        self.proxy.clear()
        return url


def copy(source: str, target: str, options: Options | None = None) -> Summary:
    return sync(location.source(source), location.target(target), options)


def contents(folder: Path) -> Tree:
    """Return what is there under its name; nothing else may be but what grows."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
    return {name: data for name, data in found.items() if not name.endswith(".part")}


def met(fault: Fault, match: Match, **more: int) -> Fault:
    return replace(fault, match=replace(match, **more))


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    found = WIRES[request.param]
    if gap := found.gaps.get(request.node.name):
        request.applymarker(pytest.mark.xfail(reason=gap, strict=True))
    return found


@pytest.fixture
def cloud(
    wire: Wire,
    emulators: Emulators,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Cloud]:
    emulator = emulators.get(wire.rig.emulator)
    monkeypatch.setattr(retry, "BACKOFF_S", 0.001)
    monkeypatch.setattr(bucket_requests, "BACKOFF_S", 0.001)
    monkeypatch.setitem(bucket_api.PATIENCE, "read_timeout", "1s")
    monkeypatch.setitem(bucket_api.PATIENCE, "timeout", "2s")
    for name in wire.patience:
        monkeypatch.setattr(name, 1)
    with bucket_behind_proxy(wire, emulator, monkeypatch.setenv) as made:
        yield Cloud(wire, made.proxy, made.url, tmp_path)
        assert made.proxy.met, "no request met a fault"


def named(fault: Fault) -> str:
    return f"{fault.do.name.lower()}-{fault.at}"


class TestWhatPasses:
    """A fault that does not last is got over: all bytes are right, and nothing is left behind."""

    @pytest.mark.parametrize("fault", SENDING, ids=named)
    def test_when_small_files_are_pushed(self, cloud: Cloud, fault: Fault) -> None:
        cloud.proxy.add(met(fault, cloud.wire.put, skip=2))
        assert copy(cloud.plant(FEW), f"{cloud.url}/t").transferred == len(FEW)
        assert cloud.holds("t") == FEW

    @pytest.mark.parametrize("fault", SENDING, ids=named)
    def test_when_a_large_file_is_pushed(self, cloud: Cloud, fault: Fault) -> None:
        cloud.proxy.add(met(fault, cloud.wire.part, skip=1))
        assert copy(cloud.plant(LARGE), f"{cloud.url}/t").transferred == 1
        assert cloud.holds("t") == LARGE
        assert not list(cloud.store.api.unfinished(""))

    @pytest.mark.parametrize("fault", FETCHING, ids=named)
    def test_when_small_files_are_pulled(self, cloud: Cloud, fault: Fault) -> None:
        source, target = cloud.fill(FEW), cloud.folder / "target"
        cloud.proxy.add(met(fault, cloud.wire.get, skip=2))
        assert copy(source, str(target)).transferred == len(FEW)
        assert contents(target) == FEW
        assert len(list(target.iterdir())) == len(FEW)

    @ON_ONE
    @pytest.mark.parametrize("fault", OF_PARTS, ids=named)
    def test_when_a_large_file_is_pulled(self, cloud: Cloud, fault: Fault) -> None:
        source, target = cloud.fill(LARGE), cloud.folder / "target"
        cloud.proxy.add(met(fault, replace(cloud.wire.get, path="large"), skip=1))
        assert copy(source, str(target)).transferred == 1
        assert contents(target) == LARGE
        assert len(list(target.iterdir())) == 1

    @pytest.mark.parametrize("name", ["503", "429"])
    def test_when_the_store_says_so(self, cloud: Cloud, name: str) -> None:
        """…to any request of a push, of a pull, and between buckets."""
        self.all_is_well_after(cloud, name)

    @ON_ONE
    @pytest.mark.parametrize("name", ["500", "502", "503-retry-after", "foreign"])
    def test_when_the_store_says_so_otherwise(self, cloud: Cloud, name: str) -> None:
        self.all_is_well_after(cloud, name)

    def all_is_well_after(self, cloud: Cloud, name: str) -> None:
        wire, target = cloud.wire, cloud.folder / "target"
        fault = Fault(Do.ANSWER, answer=wire.failing[name])
        source, first, second = cloud.plant(BOTH), f"{cloud.url}/a", f"{cloud.url}/b"
        cloud.proxy.add(*(met(fault, each) for each in wire.all))
        copy(source, first)
        cloud.proxy.clear()
        cloud.proxy.add(*(met(fault, each) for each in wire.all))
        copy(first, second)
        cloud.proxy.clear()
        cloud.proxy.add(*(met(fault, each) for each in wire.all))
        copy(second, str(target))
        assert cloud.holds("a") == cloud.holds("b") == contents(target) == BOTH
        assert not list(cloud.store.api.unfinished(""))

    @pytest.mark.parametrize("name", ["late", "garbled"])
    def test_when_the_store_says_that_bytes_came_so(self, cloud: Cloud, name: str) -> None:
        """…which it does with a status that is final for all else."""
        fault = Fault(Do.ANSWER, answer=cloud.wire.failing[name])
        cloud.proxy.add(met(fault, cloud.wire.put), met(fault, cloud.wire.part))
        copy(cloud.plant(BOTH), f"{cloud.url}/t")
        assert cloud.holds("t") == BOTH

    def test_when_only_the_answer_was_lost(self, cloud: Cloud) -> None:
        """…to what began or completed an upload: the store is asked what became of it."""
        for number, do in enumerate((Do.LOSE_ANSWER, Do.SPOIL_ANSWER)):
            cloud.proxy.add(Fault(do, cloud.wire.begin), Fault(do, cloud.wire.complete))
            copy(cloud.plant(LARGE, f"source-{number}"), f"{cloud.url}/{number}")
            assert cloud.holds(str(number)) == LARGE
            cloud.proxy.clear()
        assert not list(cloud.store.api.unfinished(""))


class TestAConditionalWrite:
    """…of the store, on which the state of jobs rests, is made once or not at all."""

    @pytest.mark.parametrize("do", [Do.LOSE_ANSWER, Do.SPOIL_ANSWER, Do.RESET_REQUEST, Do.ANSWER])
    def test_is_made_once_whatever_becomes_of_request_and_answer(
        self, cloud: Cloud, do: Do
    ) -> None:
        fault = Fault(do, cloud.wire.put, answer=cloud.wire.failing["503"])
        cloud.proxy.add(fault)
        first = cloud.store.put("a", b"1", if_absent=True)
        assert (cloud.store.get("a").data, cloud.store.get("a").etag) == (b"1", first)
        cloud.proxy.clear()
        cloud.proxy.add(fault)
        second = cloud.store.put("a", b"2", if_match=first)
        assert (cloud.store.get("a").data, cloud.store.get("a").etag) == (b"2", second)

    @pytest.mark.parametrize("do", [Do.LOSE_ANSWER, Do.SPOIL_ANSWER, Do.RESET_REQUEST])
    def test_still_loses_against_another(self, cloud: Cloud, do: Do) -> None:
        first = cloud.store.put("a", b"1", if_absent=True)
        cloud.store.put("a", b"other", if_match=first)
        cloud.proxy.add(Fault(do, cloud.wire.put, answer=cloud.wire.failing["503"]))
        with pytest.raises(Conflict):
            cloud.store.put("a", b"2", if_match=first)
        with pytest.raises(Conflict):
            cloud.store.put("a", b"2", if_absent=True)
        assert cloud.store.get("a").data == b"other"

    def test_is_neither_lost_nor_doubled_with_many_writers(self, cloud: Cloud) -> None:
        """…who look before they write, while the answer to every third write is lost.

        Not more often than one is tried again: they might all be those of one unlucky writer.
        """
        cloud.store.put("list", b"")
        for each in range(bucket_requests.RETRIES):
            cloud.proxy.add(met(Fault(Do.LOSE_ANSWER), cloud.wire.put, skip=each * 3))

        def add(word: bytes) -> None:
            store, found = cloud.store, cloud.store.get("list")
            while word not in found.data.split():
                with contextlib.suppress(Conflict):
                    store.put("list", found.data + word + b" ", if_match=found.etag)
                found = store.get("list")

        words = [b"%d" % number for number in range(16)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, words))
        assert sorted(cloud.store.get("list").data.split()) == sorted(words)


@pytest.mark.parametrize(
    ("said", "low", "high"),
    [
        ("7", 7, 7),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9, 1e12),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0, 0),
        ("soon", 0, 0),
        ("", 0, 0),
    ],
)
def test_how_long_a_service_asks_to_wait_is_told(
    cloud: Cloud, said: str, low: float, high: float
) -> None:
    """…where its own client is used; obstore does not hand it on."""
    slow = cloud.wire.failing["503"]
    upload = cloud.store.api.begin("large", 2 * PART_BYTES, lambda: 0)
    answer = replace(slow, headers=(("Retry-After", said),) if said else ())
    cloud.proxy.add(Fault(Do.ANSWER, cloud.wire.part, answer=answer))
    with pytest.raises((Throttled, Unavailable)) as caught:
        upload.put(1, b"x", crc32c(b"x"))
    assert low <= caught.value.asked_wait_s <= high


class TestWhatLasts:
    """A fault that does not pass is told with the names of what it met; the rest arrives.

    Nothing wrong is under those names, and the next run, without the fault, brings only them.
    """

    BAD = "003"

    @pytest.mark.parametrize("do", [Do.RESET_REQUEST, Do.FLIP_REQUEST, Do.ANSWER, Do.LOSE_ANSWER])
    def test_to_a_small_file_that_is_pushed(self, cloud: Cloud, do: Do) -> None:
        source, url = cloud.plant(FEW), f"{cloud.url}/t"
        put = replace(cloud.wire.put, path=self.BAD, times=0)
        cloud.proxy.add(Fault(do, put))
        assert failed(source, url) == {self.BAD}
        cloud.proxy.clear()
        arrived = cloud.holds("t")
        assert arrived == {name: FEW[name] for name in arrived}
        assert (self.BAD in arrived) is (do is Do.LOSE_ANSWER)
        cloud.proxy.clear()
        copy(source, url, Options(checksum=True))
        assert len(cloud.proxy.seen(cloud.wire.put)) == (do is not Do.LOSE_ANSWER)
        assert cloud.holds("t") == FEW

    @pytest.mark.parametrize("do", [Do.RESET_REQUEST, Do.FLIP_REQUEST, Do.ANSWER])
    def test_to_a_part_of_what_is_pushed(self, cloud: Cloud, do: Do) -> None:
        source, url = cloud.plant(LARGE), f"{cloud.url}/t"
        cloud.proxy.add(Fault(do, replace(cloud.wire.last_part, times=0)))
        assert failed(source, url) == {"large"}
        cloud.proxy.clear()
        assert cloud.holds("t") == {}
        held = {n for each in cloud.store.api.unfinished("") for n in each.parts()}
        cloud.proxy.clear()
        copy(source, url)
        assert len(cloud.proxy.seen(cloud.wire.part)) == 3 - len(held)
        assert cloud.holds("t") == LARGE
        assert not list(cloud.store.api.unfinished(""))

    @pytest.mark.parametrize(
        "do", [Do.RESET_ANSWER, Do.CUT_ANSWER, Do.FLIP_ANSWER, Do.ANSWER, Do.LOSE_ANSWER]
    )
    def test_to_a_small_file_that_is_pulled(self, cloud: Cloud, do: Do) -> None:
        source, target = cloud.fill(FEW), cloud.folder / "target"
        cloud.proxy.add(Fault(do, replace(cloud.wire.get, path=self.BAD, times=0)))
        assert failed(source, str(target)) == {self.BAD}
        assert contents(target) == {name: data for name, data in FEW.items() if name != self.BAD}
        cloud.proxy.clear()
        assert copy(source, str(target)).transferred == 1
        assert cloud.proxy.received_bytes(replace(cloud.wire.get, path="/source/")) == 500
        assert contents(target) == FEW

    @ON_ONE
    @pytest.mark.parametrize("do", [Do.RESET_ANSWER, Do.CUT_ANSWER, Do.ANSWER])
    def test_to_a_large_file_that_is_pulled(self, cloud: Cloud, do: Do) -> None:
        """…after its first range."""
        source, target = cloud.fill(LARGE), cloud.folder / "target"
        get = replace(cloud.wire.get, path="/source/large")
        cloud.proxy.add(Fault(do, replace(get, skip=1, times=0)))
        assert failed(source, str(target)) == {"large"}
        assert contents(target) == {}
        first = next(each for each in cloud.proxy.seen(get) if not each.faults)
        cloud.proxy.clear()
        copy(source, str(target))
        assert cloud.proxy.received_bytes(get) == len(LARGE["large"]) - first.received
        assert contents(target) == LARGE
        assert len(list(target.iterdir())) == 1

    @ON_ONE
    def test_to_all_bytes_of_a_large_file_that_is_pulled(self, cloud: Cloud) -> None:
        """…as when what the store keeps has rotted."""
        source, target = cloud.fill(LARGE), cloud.folder / "target"
        get = replace(cloud.wire.get, path="/large", times=0)
        cloud.proxy.add(Fault(Do.FLIP_ANSWER, get, at=900))
        assert failed(source, str(target)) == {"large"}
        assert contents(target) == {}
        cloud.proxy.clear()
        copy(source, str(target))
        assert contents(target) == LARGE

    @pytest.mark.parametrize("tree", [FEW, LARGE], ids=["small", "large"])
    def test_to_what_goes_from_bucket_to_bucket(self, cloud: Cloud, tree: Tree) -> None:
        """…where the same fault might meet the digest and the bytes."""
        source, url = cloud.fill(tree), f"{cloud.url}/t"
        bad = max(tree)
        cloud.proxy.add(
            Fault(Do.FLIP_ANSWER, replace(cloud.wire.get, path=f"/{bad}", times=0), at=50)
        )
        assert failed(source, url) == {bad}
        cloud.proxy.clear()
        assert cloud.holds("t") == {name: data for name, data in tree.items() if name != bad}
        copy(source, url)
        assert cloud.holds("t") == tree
        assert not list(cloud.store.api.unfinished(""))


class TestCredentials:
    """…that expire on the way, or do not permit all of it, end a transfer with exit code 4."""

    @pytest.mark.parametrize("tree", [MANY, LARGE], ids=["many", "large"])
    def test_while_pushing(self, cloud: Cloud, tree: Tree) -> None:
        source, url, skip = cloud.plant(tree), f"{cloud.url}/t", max(len(tree) // 2, 1)
        answer = cloud.wire.expired
        wire = cloud.wire
        for match in (wire.put, wire.part, wire.complete):
            cloud.proxy.add(Fault(Do.ANSWER, replace(match, skip=skip, times=0), answer=answer))
        with pytest.raises(CredentialsError) as caught:
            copy(source, url)
        assert "credentials" in caught.value.what
        assert caught.value.fix
        cloud.proxy.clear()
        done = cloud.holds("t")
        assert done == {name: tree[name] for name in done}
        cloud.proxy.clear()
        copy(source, url, Options(checksum=True))
        assert len(cloud.proxy.seen(cloud.wire.put)) < max(len(tree), 4)
        assert cloud.holds("t") == tree

    @pytest.mark.parametrize("tree", [MANY, LARGE], ids=["many", "large"])
    def test_while_pulling(self, cloud: Cloud, tree: Tree) -> None:
        source, target = cloud.fill(tree), cloud.folder / "target"
        get = replace(cloud.wire.get, path="/source/", skip=len(tree) // 2 + 1, times=0)
        cloud.proxy.add(Fault(Do.ANSWER, get, answer=cloud.wire.denied))
        with pytest.raises(PermissionDenied):
            copy(source, str(target))
        found = contents(target)
        assert found == {name: tree[name] for name in found}
        cloud.proxy.clear()
        once_let_go(lambda: copy(source, str(target)))
        assert cloud.proxy.received_bytes(get) < sum(map(len, tree.values()))
        assert contents(target) == tree


class TestAListing:
    """…is whole or fails: nobody takes what it lacks for absent."""

    @pytest.mark.parametrize("do", [Do.CUT_ANSWER, Do.RESET_ANSWER, Do.HOLD_ANSWER])
    def test_that_breaks_off_is_asked_for_again(self, cloud: Cloud, do: Do) -> None:
        """…wherever it does, and goes on where it was."""
        cloud.fill(MANY)
        found = open_store(cloud.url).objects("source/")
        for at in (1, 400, 3000)[: 1 if do is Do.HOLD_ANSWER else None]:
            cloud.proxy.clear()
            cloud.proxy.add(met(Fault(do, at=at), cloud.wire.listing))
            assert [each.key for each in found] == [f"source/{name}" for name in MANY]
            found = cloud.store.objects("source/")

    @ON_ONE
    @pytest.mark.parametrize("do", [Do.CUT_ANSWER, Do.RESET_ANSWER])
    def test_goes_on_with_the_page_that_broke_off(self, cloud: Cloud, do: Do) -> None:
        """…and yields nothing twice."""
        names = [f"{number:04}" for number in range(1100)]  # a page has a thousand
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(functools.partial(cloud.store.put, data=b""), names))
        cloud.proxy.clear()
        cloud.proxy.add(met(Fault(do, at=400), cloud.wire.listing, skip=1))
        assert [each.key for each in cloud.store.objects()] == names
        assert len(cloud.proxy.seen(cloud.wire.listing)) == 3

    @pytest.mark.parametrize("do", [Do.CUT_ANSWER, Do.ANSWER])
    def test_that_always_breaks_off_removes_nothing(self, cloud: Cloud, do: Do) -> None:
        """…even where `delete` removes what the source does not have."""
        source, target = cloud.fill(MANY), cloud.folder / "target"
        copy(source, str(target))
        fault = Fault(do, replace(cloud.wire.listing, times=0), at=3000)
        cloud.proxy.add(fault)
        with pytest.raises((Unavailable, Throttled)):
            copy(source, str(target), Options(delete=True))
        assert contents(target) == MANY


class TestTheStore:
    """…asks again for what broke off, in each of its small requests."""

    @pytest.mark.parametrize("do", [Do.CUT_ANSWER, Do.RESET_ANSWER, Do.LOSE_ANSWER])
    def test_reads(self, cloud: Cloud, do: Do) -> None:
        store = cloud.store
        data = bytes(range(256)) * 8
        store.put("a/b", data)
        reads: list[tuple[Callable[[], object], object]] = [
            (lambda: store.get("a/b").data, data),
            (lambda: store.read("a/b", 10, 1000), data[10:1010]),
            (lambda: store.folders(""), ["a"]),
            (lambda: [each.key for each in store.objects()], ["a/b"]),
            (lambda: store.head("a/b").size, len(data)),
            (lambda: store.get_file("a/b", cloud.folder / "f"), sha256(data).hexdigest()),
        ]
        for read, expected in reads:
            cloud.proxy.clear()
            cloud.proxy.add(Fault(do, at=100))
            assert read() == expected

    @pytest.mark.parametrize("do", [Do.RESET_REQUEST, Do.LOSE_ANSWER, Do.RESET_ANSWER])
    def test_writes(self, cloud: Cloud, do: Do) -> None:
        store = cloud.store
        (cloud.folder / "f").write_bytes(b"file")
        for write in (
            lambda: store.put("a", b"1"),
            lambda: store.put_file("b", cloud.folder / "f"),
            lambda: store.delete("a"),
            lambda: store.delete_all(["b", "c"]),
        ):
            cloud.proxy.clear()
            cloud.proxy.add(Fault(do))
            write()
        assert list(store.objects()) == []

    def test_writes_logs_without_their_mark_where_it_may_not_make_one(self, cloud: Cloud) -> None:
        """…and does not ask for it again."""
        store, key = cloud.store, "jobs/id/logs/0001/00000/00000000"
        cloud.proxy.add(Fault(Do.ANSWER, cloud.wire.put, answer=cloud.wire.denied))
        for data in (b"1", b"2"):
            store.put(key, data)
            assert store.get(key).data == data
        assert len(cloud.proxy.seen(cloud.wire.put)) == 3


def once_let_go(work: Callable[[], object]) -> None:
    """Do what the threads of a transfer that was stopped may hinder for a moment."""
    deadline = time.monotonic() + 30
    while True:
        try:
            work()
        except PartlyFailed:
            if time.monotonic() > deadline:
                raise
        else:
            return


def failed(source: str, target: str) -> set[str]:
    """Return the names that a transfer says have failed."""
    with pytest.raises(PartlyFailed) as caught:
        copy(source, target)
    assert caught.value.exit_code == 6
    assert all(name in caught.value.what for name in caught.value.failed)
    return set(caught.value.failed)
