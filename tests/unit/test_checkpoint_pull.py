"""What `checkpoints list` and `pull` do, under interruptions and with hostile stores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from tests.rig.checkpoints import JOB, DyingStore, Rig, contents, safetensors, zipped

from llmcloud.core import checkpoints
from llmcloud.core.errors import UsageError
from llmcloud.core.transfer import space
from llmcloud.core.transfer.errors import Damaged, OutOfSpace
from llmcloud.core.transfer.meter import Meter
from llmcloud.runtime import layout
from llmcloud.runtime.bucket_api import PART_BYTES
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a node that shipped steps 10 and 20."""
    found = Rig(tmp_path, keep=2)
    found.poll()
    for step in (10, 20):
        ship(found, step)
    return found


def ship(rig: Rig, step: int) -> None:
    rig.write(f"checkpoint-{step}/model.safetensors", safetensors(step, 5000))
    rig.write(f"checkpoint-{step}/trainer/state.json", b"{}")
    assert rig.settle() == [step]


def files_of(step: int) -> dict[str, bytes]:
    return {
        f"checkpoint-{step}/model.safetensors": safetensors(step, 5000),
        f"checkpoint-{step}/trainer/state.json": b"{}",
    }


def test_the_listing_shows_what_is_whole_and_what_is_not(rig: Rig) -> None:
    """The oldest first."""
    rig.store.put(layout.checkpoint(JOB, 30) + "half", b"x")
    rig.store.delete(layout.checkpoint(JOB, 10) + "checkpoint-10/model.safetensors")
    found = checkpoints.listing(rig.store, JOB)
    assert [(each.step, each.is_valid) for each in found] == [(10, False), (20, True), (30, False)]
    assert found[0].problem == "checkpoint-10/model.safetensors is missing"
    assert found[2].problem == "it is not complete"
    assert (found[1].files, found[1].attempt) == (2, 1)
    assert found[1].size_bytes == sum(map(len, files_of(20).values()))


def test_the_newest_or_any_step_is_pulled_under_its_own_names(rig: Rig, tmp_path: Path) -> None:
    """And the progress ends at its totals."""
    meter = Meter()
    target = tmp_path / "target"
    assert checkpoints.pull(rig.store, JOB, target, meter=meter).step == 20
    assert contents(target) == files_of(20)
    assert (meter.bytes_done, meter.files_done) == (meter.bytes_total, 2)
    assert checkpoints.pull(rig.store, JOB, target, step=10).step == 10
    assert contents(target) == {**files_of(10), **files_of(20)}


def test_what_is_there_is_not_fetched_again(rig: Rig, tmp_path: Path) -> None:
    """By its digest."""
    target = tmp_path / "target"
    checkpoints.pull(rig.store, JOB, target)
    counting = DyingStore(rig.store.root)
    reads: list[str] = []
    counting.read = lambda key, *_: reads.append(key) or b""  # type: ignore[method-assign,func-returns-value]
    checkpoints.pull(counting, JOB, target)
    assert reads == []


def test_an_absent_step_is_not_found_and_those_that_exist_are_named(
    rig: Rig, tmp_path: Path
) -> None:
    """So that the next try is right."""
    with pytest.raises(NotFound) as caught:
        checkpoints.pull(rig.store, JOB, tmp_path / "target", step=15)
    assert caught.value.fix == "There are the steps 10, 20."
    with pytest.raises(NotFound, match="no complete checkpoint yet"):
        checkpoints.pull(rig.store, "other", tmp_path / "target")


def test_a_different_file_is_not_overwritten_unless_forced(rig: Rig, tmp_path: Path) -> None:
    """Nothing is fetched before this is clear."""
    target = tmp_path / "target"
    mine = target / "checkpoint-20/trainer/state.json"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"trainer/state\.json"):
        checkpoints.pull(rig.store, JOB, target)
    assert contents(target) == {"checkpoint-20/trainer/state.json": b"mine"}
    checkpoints.pull(rig.store, JOB, target, force=True)
    assert contents(target) == files_of(20)


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "..\\out", "C:\\out"])
def test_a_name_that_leaves_the_folder_is_refused(rig: Rig, tmp_path: Path, name: str) -> None:
    """A checkpoint that asks for it is no checkpoint at all."""
    key = layout.checkpoint_complete(JOB, 20)
    document = json.loads(rig.store.get(key).data)
    document["files"][0]["name"] = name
    rig.store.put(key, json.dumps(document).encode())
    target = tmp_path / "deep" / "target"
    assert checkpoints.pull(rig.store, JOB, target).step == 10
    with pytest.raises(NotFound, match="would leave the folder"):
        checkpoints.pull(rig.store, JOB, target, step=20)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["target"]


@pytest.mark.parametrize("force", [False, True])
def test_a_symlink_in_the_target_is_not_written_through(
    rig: Rig, tmp_path: Path, force: bool
) -> None:
    """Neither a folder's nor a file's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"precious")
    folder_link, file_link = tmp_path / "a", tmp_path / "b"
    folder_link.mkdir()
    (folder_link / "checkpoint-20").symlink_to(outside)
    (file_link / "checkpoint-20").mkdir(parents=True)
    (file_link / "checkpoint-20/model.safetensors").symlink_to(outside / "file")
    for target in (folder_link, file_link):
        with pytest.raises(UsageError):
            checkpoints.pull(rig.store, JOB, target, force=force)
    assert contents(outside) == {"file": b"precious"}


LARGE = 2 * PART_BYTES + 1000  # three parts

KILLED = r"""
import os, signal, sys, time
from pathlib import Path
from llmcloud.core import checkpoints
from llmcloud.runtime.bucket_api import PART_BYTES
from llmcloud.runtime.store import FileStore

store, job, target = sys.argv[1:]

class Dying(FileStore):
    def read(self, key, start, size):
        if start >= 2 * PART_BYTES:
            deadline = time.monotonic() + 60
            while not two_are_written() and time.monotonic() < deadline:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(key, start, size)

def two_are_written():
    (path,) = Path(target).rglob("*.part")
    return path.read_bytes()[-3:] == b"\1\1\0"

checkpoints.pull(Dying(Path(store)), job, Path(target))
"""


@pytest.fixture
def cut_off(rig: Rig, tmp_path: Path) -> Path:
    """Return a folder that a pull of a large checkpoint was killed in, before its last part."""
    rig.write("checkpoint-30/model.safetensors", safetensors(30, LARGE))
    assert rig.settle() == [30]
    target = tmp_path / "target"
    script = [sys.executable, "-c", KILLED, str(rig.store.root), JOB, str(target)]
    assert subprocess.run(script, check=False).returncode == -9
    assert [path.suffix for path in target.rglob("*") if path.is_file()] == [".part"]
    return target


def test_a_pull_that_was_killed_fetches_only_the_rest(rig: Rig, cut_off: Path) -> None:
    """No byte that was written is read from the store twice."""
    store = DyingStore(rig.store.root)
    fetched: list[int] = []

    def read(_: str, start: int, size: int) -> bytes:
        fetched.append(start)
        return rig.store.read(_, start, size)

    store.read = read  # type: ignore[method-assign]
    checkpoints.pull(store, JOB, cut_off)
    assert fetched == [2 * PART_BYTES]
    name = "checkpoint-30/model.safetensors"
    assert contents(cut_off) == {name: safetensors(30, LARGE)}


def test_a_part_with_wrong_bytes_is_fetched_anew(rig: Rig, cut_off: Path) -> None:
    """Once; what the disk did to it is not taken for the store's fault."""
    (part,) = cut_off.rglob("*.part")
    with part.open("r+b") as file:
        file.write(b"?????")
    checkpoints.pull(rig.store, JOB, cut_off)
    name = "checkpoint-30/model.safetensors"
    assert contents(cut_off) == {name: safetensors(30, LARGE)}


def test_damage_of_a_large_file_leaves_nothing(rig: Rig, cut_off: Path) -> None:
    """Also of what an earlier pull brought."""
    key = layout.checkpoint(JOB, 30) + "checkpoint-30/model.safetensors"
    rig.store.put(key, safetensors(31, LARGE))
    with pytest.raises(Damaged):
        checkpoints.pull(rig.store, JOB, cut_off)
    assert contents(cut_off) == {}


def test_damage_in_the_store_fails_and_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    """The exit code is that of a failed provider."""
    key = layout.checkpoint(JOB, 20) + "checkpoint-20/model.safetensors"
    rig.store.put(key, safetensors(21, 5000))
    with pytest.raises(Damaged) as caught:
        checkpoints.pull(rig.store, JOB, tmp_path / "target")
    assert caught.value.exit_code == 6
    assert not list((tmp_path / "target").rglob("*model*"))


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is needed."""
    monkeypatch.setattr(space, "MARGIN_BYTES", 1 << 60)
    with pytest.raises(OutOfSpace, match="bytes are needed"):
        checkpoints.pull(rig.store, JOB, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_two_pulls_into_one_folder_do_not_mix(rig: Rig, tmp_path: Path) -> None:
    """The second is refused while the first writes the same large file."""
    rig.write("checkpoint-30/model.safetensors", safetensors(30, LARGE))
    assert rig.settle() == [30]
    store = DyingStore(rig.store.root)
    target = tmp_path / "target"
    inside, go_on = threading.Event(), threading.Event()

    def slow(key: str, start: int, size: int) -> bytes:
        inside.set()
        assert go_on.wait(30)
        return rig.store.read(key, start, size)

    store.read = slow  # type: ignore[method-assign]
    first = threading.Thread(target=checkpoints.pull, args=(store, JOB, target), daemon=True)
    first.start()
    assert inside.wait(30)
    with pytest.raises(UsageError, match="Another command"):
        checkpoints.pull(rig.store, JOB, target)
    go_on.set()
    first.join(30)
    assert contents(target) == {"checkpoint-30/model.safetensors": safetensors(30, LARGE)}


def test_links_come_along_within_the_target(tmp_path: Path) -> None:
    """As links."""
    rig = Rig(tmp_path)
    rig.poll()
    (rig.folder / "latest").symlink_to("checkpoint-5")
    ship(rig, 5)
    checkpoints.pull(rig.store, JOB, tmp_path / "target")
    assert os.readlink(tmp_path / "target/latest") == "checkpoint-5"  # noqa: PTH115


def test_watch_pulls_each_new_checkpoint_until_the_job_is_over(rig: Rig, tmp_path: Path) -> None:
    """The newest at first, and what is completed just before the end as well."""
    target = tmp_path / "target"
    pending = [30, 40]

    def wait(_: float) -> None:
        ship(rig, pending.pop(0))

    found = checkpoints.watch(rig.store, JOB, target, is_over=lambda: not pending, wait=wait)
    assert [each.step for each in found] == [20, 30, 40]
    assert contents(target) == {**files_of(20), **files_of(30), **files_of(40)}


def test_watch_replaces_what_is_overwritten_in_place(tmp_path: Path) -> None:
    """But not a file that was there before it."""
    rig = Rig(tmp_path)
    rig.poll()
    rig.write("ckpt.pt", zipped(1))
    rig.settle()
    pending = [2]

    def wait(_: float) -> None:
        rig.write("ckpt.pt", zipped(pending.pop()))
        rig.settle()

    target = tmp_path / "target"
    found = checkpoints.watch(rig.store, JOB, target, is_over=lambda: not pending, wait=wait)
    assert [each.step for each in found] == [1, 2]
    assert contents(target) == {"ckpt.pt": zipped(2)}
    (target / "ckpt.pt").write_bytes(b"mine")
    with pytest.raises(UsageError):
        list(checkpoints.watch(rig.store, JOB, target, is_over=lambda: True, wait=wait))


def test_watch_passes_over_one_that_is_pruned_while_it_is_pulled(rig: Rig, tmp_path: Path) -> None:
    """A newer one follows."""
    store = DyingStore(rig.store.root)
    pruned = []

    def read(key: str, start: int, size: int) -> bytes:
        if "checkpoint-20" in key and not pruned:
            pruned.append(key)
            for step in (30, 40):
                ship(rig, step)
        return FileStore.read(store, key, start, size)

    store.read = read  # type: ignore[method-assign]
    over = iter([False, True])
    found = checkpoints.watch(
        store, JOB, tmp_path / "target", is_over=lambda: next(over), wait=lambda _: None
    )
    assert [each.step for each in found] == [30, 40]


def test_a_pull_of_the_newest_that_is_pruned_meanwhile_takes_the_newer(
    rig: Rig, tmp_path: Path
) -> None:
    """Without a word."""
    store = DyingStore(rig.store.root)
    pruned = []

    def read(key: str, start: int, size: int) -> bytes:
        if not pruned:
            pruned.append(key)
            for step in (30, 40):
                ship(rig, step)
        return FileStore.read(store, key, start, size)

    store.read = read  # type: ignore[method-assign]
    assert checkpoints.pull(store, JOB, tmp_path / "target").step == 40
