"""What a person sees of a transfer that is killed, interrupted, or failed by the network."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.faults import Answer, Do, Fault, Match, Request
from tests.rig.waits import eventually
from tests.rig.wires import ON_ONE, WIRES, Wire, WiredBucket, bucket_behind_proxy

from llmcloud.runtime.bucket_api import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Bench, Done
    from tests.rig.emulators.catalog import Emulators

PARTS = 5
LARGE = random.Random(0).randbytes((PARTS - 1) * PART_BYTES + 1000)
SMALL_BYTES = 500
SOON_S = 15.0  # far less than any request may take


@dataclass(frozen=True)
class Cloud(WiredBucket):
    """A new bucket behind a proxy, and the bench whose commands reach it."""

    bench: Bench

    def stored(self, match: Match) -> list[Request]:
        """Return the requests to write that succeeded."""
        return [each for each in self.proxy.seen(match) if each.status in {200, 201}]

    def plant(self, **files: bytes) -> Path:
        folder = self.bench.root / "source"
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    def push(self) -> Done:
        return self.bench.cli(*self.pushing)

    def pull(self) -> Done:
        return self.bench.cli(*self.pulling)

    @property
    def pushing(self) -> tuple[str, ...]:
        return ("data", "push", "source", f"{self.url}/t")

    @property
    def pulling(self) -> tuple[str, ...]:
        return ("data", "pull", f"{self.url}/t", "target")

    @property
    def target(self) -> Path:
        return self.bench.root / "target"

    def pulled(self) -> dict[str, bytes]:
        found = self.target.iterdir() if self.target.exists() else ()
        return {each.name: each.read_bytes() for each in found if each.suffix != ".part"}


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


@pytest.fixture
def cloud(
    wire: Wire,
    emulators: Emulators,
    monkeypatch: pytest.MonkeyPatch,
    bench: Bench,
) -> Iterator[Cloud]:
    emulator = emulators.get(wire.rig.emulator)
    with bucket_behind_proxy(wire, emulator, monkeypatch.setenv) as made:
        bench.environ.update(wire.environ(emulator, made.proxy.url))
        yield Cloud(wire, made.proxy, made.url, bench)


def killed(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


def test_a_large_push_that_was_killed_goes_on_where_it_was(cloud: Cloud) -> None:
    """Nothing is visible before its end; then it is, and no upload is left."""
    cloud.plant(large=LARGE)
    part = replace(cloud.wire.part, skip=2, times=0)
    cloud.proxy.add(Fault(Do.HOLD_REQUEST, part, at=100))
    child = cloud.bench.start(*cloud.pushing)
    cloud.proxy.await_held()
    eventually(
        lambda: sum(each.status // 100 == 2 for each in cloud.proxy.seen(part)) == 2, "two parts"
    )
    killed(child)
    sent = sum(each.sent for each in cloud.stored(part))
    cloud.proxy.clear()
    assert cloud.holds() == {}
    assert len(list(cloud.store.api.unfinished(""))) == 1
    cloud.proxy.clear()
    done = cloud.push()
    assert (done.code, cloud.proxy.sent_bytes(part)) == (0, len(LARGE) - sent), done.err
    assert cloud.holds() == {"large": LARGE}
    assert not list(cloud.store.api.unfinished(""))


@ON_ONE
def test_a_large_pull_that_was_killed_goes_on_where_it_was(cloud: Cloud) -> None:
    """Nothing is there under its name before its end, and nothing else after it."""
    cloud.plant(large=LARGE)
    assert cloud.push().code == 0
    cloud.proxy.clear()
    bucket = cloud.url.rpartition("/")[2]
    get = replace(cloud.wire.get, path=f"/{bucket}/t/large", skip=2, times=0)
    cloud.proxy.add(Fault(Do.HOLD_ANSWER, get))
    child = cloud.bench.start(*cloud.pulling)
    cloud.proxy.await_held()

    def parts_on_disk() -> int:
        grown = list(cloud.target.glob(".*.part"))
        return grown[0].read_bytes()[len(LARGE) :].count(1) if grown else 0

    eventually(lambda: parts_on_disk() == 2, "two parts")
    killed(child)
    received = sum(each.received for each in cloud.proxy.seen(get) if not each.faults)
    assert cloud.pulled() == {}
    cloud.proxy.clear()
    done = cloud.pull()
    assert (done.code, cloud.proxy.received_bytes(get)) == (0, len(LARGE) - received), done.err
    assert cloud.pulled() == {"large": LARGE}
    assert len(list(cloud.target.iterdir())) == 1


@ON_ONE
def test_two_thousand_files_go_on_after_a_kill_each_way(cloud: Cloud) -> None:
    """Each is whole or absent, and what was there is not sent again."""
    files = {f"f{n:04}": random.Random(n).randbytes(SMALL_BYTES) for n in range(2000)}
    folder = cloud.plant(**files)
    newest = max(each.stat().st_ctime for each in folder.iterdir())
    eventually(lambda: time.time() > int(newest) + 1, "times of objects, in seconds, tell more")
    put = replace(cloud.wire.put, skip=1000, times=0)
    cloud.proxy.add(Fault(Do.HOLD_REQUEST, put, at=100))
    child = cloud.bench.start(*cloud.pushing)
    cloud.proxy.await_held()
    eventually(
        lambda: sum(each.status // 100 == 2 for each in cloud.proxy.seen(put)) == 1000, "puts"
    )
    killed(child)
    cloud.proxy.clear()
    assert sorted(each.size for each in cloud.store.objects("t/")) == [SMALL_BYTES] * 1000
    cloud.proxy.clear()
    done = cloud.push()
    assert (done.code, len(cloud.proxy.seen(put))) == (0, 1000), done.err

    cloud.proxy.clear()
    get = replace(cloud.wire.get, path="/t/", skip=1000, times=0)
    cloud.proxy.add(Fault(Do.HOLD_ANSWER, get, at=100))
    child = cloud.bench.start(*cloud.pulling)
    cloud.proxy.await_held()
    eventually(lambda: len(cloud.pulled()) == 1000, "a thousand files")
    killed(child)
    there = cloud.pulled()
    assert there == {name: files[name] for name in there}
    cloud.proxy.clear()
    done = cloud.pull()
    assert (done.code, len(cloud.proxy.seen(get))) == (0, 1000), done.err
    assert cloud.pulled() == files
    assert len(list(cloud.target.iterdir())) == len(files)


@ON_ONE
def test_ctrl_c_ends_a_transfer_at_once(cloud: Cloud) -> None:
    """…whatever it waits for, with 130 and no traceback."""
    cloud.plant(large=LARGE, small=b"x" * SMALL_BYTES)
    assert cloud.push().code == 0
    wire, other = cloud.wire, f"{cloud.url}/other"
    for do, match, command in (
        (Do.HOLD_REQUEST, wire.put, ("data", "push", "source", other)),
        (Do.HOLD_REQUEST, wire.part, ("data", "push", "source", other)),
        (Do.HOLD_ANSWER, replace(wire.get, path="/large"), cloud.pulling),
        (Do.HOLD_ANSWER, wire.listing, ("data", "list", f"{cloud.url}/t")),
    ):
        cloud.proxy.clear()
        cloud.proxy.add(Fault(do, replace(match, times=0)))
        child = cloud.bench.start(*command)
        cloud.proxy.await_held()
        child.send_signal(signal.SIGINT)
        done = cloud.bench.end(child, SOON_S)
        assert (done.code, "Traceback" in done.err) == (130, False), done.err
    cloud.proxy.clear()
    assert "large" not in cloud.pulled()
    assert "large" not in cloud.holds("other")


def test_credentials_that_expire_on_the_way_are_told_with_what_to_do(cloud: Cloud) -> None:
    cloud.plant(**{f"f{n:03}": b"x" for n in range(50)})
    put = replace(cloud.wire.put, skip=20, times=0)
    cloud.proxy.add(Fault(Do.ANSWER, put, answer=cloud.wire.expired))
    done = cloud.push()
    assert done.code == 4
    assert "credentials" in done.err
    assert "fix:" in done.err
    assert "Traceback" not in done.err
    cloud.proxy.clear()
    assert cloud.push().code == 0
    assert len(cloud.holds()) == 50


@ON_ONE
def test_files_that_did_not_arrive_are_named(cloud: Cloud) -> None:
    """…on the terminal and in the events, while the others arrive."""
    cloud.plant(good=b"1", bad=b"2")
    cloud.proxy.add(
        Fault(Do.ANSWER, replace(cloud.wire.put, path="/bad", times=0), answer=Answer(400))
    )
    done = cloud.push()
    assert done.code == 6
    assert "1 file failed, 1 were transferred" in done.err
    assert "bad: " in done.err
    done = cloud.bench.cli(*cloud.pushing, "--json")
    assert done.code == 6
    failed: list[Any] = [each for each in done.objects if each.get("event") == "failed"]
    assert [each["name"] for each in failed] == ["bad"]
    cloud.proxy.clear()
    assert cloud.holds() == {"good": b"1"}


@pytest.mark.parametrize("to", ["disk", "disk/new"])
def test_a_folder_that_can_not_be_written_to_is_told_once(
    bench: Bench, small_disk: Path, to: str
) -> None:
    """…not once a file; what is there already needs no leave."""
    source = bench.root / "source"
    source.mkdir()
    for number in range(100):
        (source / f"f{number}").write_text("x")
    (source / "large").write_bytes(bytes((1 << 20) + 1))
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    done = bench.cli("data", "pull", source.as_uri(), to)
    assert done.code == 4, done.err
    assert "can't be written to" in done.err
    assert "f1" not in done.err
    subprocess.run([*remount[:2], "remount,rw", str(small_disk)], check=True)
    assert bench.cli("data", "pull", source.as_uri(), to).code == 0
    subprocess.run(remount, check=True)
    done = bench.cli("data", "pull", source.as_uri(), to)
    assert (done.code, "101 unchanged" in done.err) == (0, True), done.err


@ON_ONE
def test_a_disk_that_fills_up_keeps_what_came_and_goes_on(cloud: Cloud, small_disk: Path) -> None:
    """Whole files only, and the rest once there is room."""
    files = {f"f{n}": random.Random(n).randbytes(700_000) for n in range(8)}
    cloud.plant(**files, large=LARGE)
    assert cloud.push().code == 0
    target = small_disk / "target"
    pull = ("data", "pull", f"{cloud.url}/t", str(target))
    done = cloud.bench.cli(*pull)
    assert done.code == 6
    assert "not enough space" in done.err
    there = {each.name: each.read_bytes() for each in target.iterdir() if each.suffix != ".part"}
    assert there == {name: files[name] for name in there}
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert cloud.bench.cli(*pull).code == 0
    assert {each.name: each.read_bytes() for each in target.iterdir()} == {**files, "large": LARGE}
