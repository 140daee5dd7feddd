"""What `restore` makes of a folder."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.checkpoints import JOB, Rig, contents, restored, safetensors, zipped

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints import newest_valid, restore
from llmcloud.runtime.checkpoints.manifest import BadManifest, Manifest
from llmcloud.runtime.errors import NotFound, Unavailable
from llmcloud.runtime.file_names import is_safe
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "format": 1,
    "step": 5,
    "attempt": 1,
    "created_at": "2026-01-01T00:00:00.000Z",
    "files": [{"name": "a", "size": 1, "sha256": "0" * 64, "key": "a", "rank": None}],
    "links": [],
}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a node that shipped steps 10 and 20, and whose folder still holds both."""
    found = Rig(tmp_path)
    found.poll()
    for step in (10, 20):
        found.write(f"checkpoint-{step}/model.safetensors", safetensors(step))
        found.settle()
    return found


def only(step: int) -> dict[str, bytes]:
    return {f"checkpoint-{step}/model.safetensors": safetensors(step)}


def test_the_folder_holds_exactly_the_newest(rig: Rig) -> None:
    """What matches stays where it is; all else is set aside, torn or whole or unknown."""
    kept = (rig.folder / "checkpoint-20/model.safetensors").stat()
    rig.write("checkpoint-30/model.safetensors", safetensors(3)[:-1])
    rig.write("tmp-checkpoint-40/half", b"x")
    rig.write("notes.txt", b"mine")
    assert restored(rig.store, rig.folder) == (20, only(20))
    assert (rig.folder / "checkpoint-20/model.safetensors").stat().st_ino == kept.st_ino
    assert rig.aside() == {
        "0001/checkpoint-10/model.safetensors": safetensors(10),
        "0001/checkpoint-30/model.safetensors": safetensors(3)[:-1],
        "0001/tmp-checkpoint-40/half": b"x",
        "0001/notes.txt": b"mine",
    }


def test_a_local_file_that_differs_is_replaced_and_set_aside(rig: Rig) -> None:
    """Also one of the same size."""
    rig.write("checkpoint-20/model.safetensors", safetensors(99))
    assert restored(rig.store, rig.folder) == (20, only(20))
    assert rig.aside()["0001/checkpoint-20/model.safetensors"] == safetensors(99)


def test_a_step_can_be_asked_for(rig: Rig) -> None:
    """One that isn't there is not found, and nothing is touched."""
    before = contents(rig.folder)
    with pytest.raises(NotFound, match="step 15"):
        restore(rig.store, JOB, rig.folder, step=15)
    assert contents(rig.folder) == before
    assert restore(rig.store, JOB, rig.folder, step=10) == 10
    assert contents(rig.folder) == only(10)


@pytest.mark.parametrize("damage", ["bytes", "size", "missing", "manifest", "no manifest"])
def test_a_damaged_checkpoint_is_passed_over(rig: Rig, damage: str, tmp_path: Path) -> None:
    """The next older one is used, and a warning says why."""
    key = layout.checkpoint(JOB, 20) + "checkpoint-20/model.safetensors"
    complete = layout.checkpoint_complete(JOB, 20)
    match damage:
        case "bytes":
            rig.store.put(key, safetensors(21))
        case "size":
            rig.store.put(key, safetensors(20)[:-1])
        case "missing":
            rig.store.delete(key)
        case "manifest":
            rig.store.put(complete, b'{"format": 1')
        case _:
            rig.store.delete(complete)
    warnings: list[str] = []
    target = tmp_path / "fresh"
    assert restore(rig.store, JOB, target, warn=warnings.append) == 10
    assert contents(target) == only(10)
    assert bool(warnings) == (damage != "no manifest")
    newest = newest_valid(rig.store, JOB)
    assert newest
    assert newest.step == (20 if damage == "bytes" else 10)


def test_with_nothing_in_the_store_only_what_is_torn_is_set_aside(tmp_path: Path) -> None:
    """A checkpoint that came with the code is the job's to use."""
    rig = Rig(tmp_path)
    rig.write("base.pt", zipped(1))
    rig.write("checkpoint-3/model.safetensors", b"torn")
    assert restored(rig.store, rig.folder) == (None, {"base.pt": zipped(1)})
    assert rig.aside() == {"0001/checkpoint-3/model.safetensors": b"torn"}


def test_symlinks_in_the_folder_are_never_written_through(rig: Rig, tmp_path: Path) -> None:
    """What they point at stays as it is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.safetensors").write_bytes(b"precious")
    for path in (rig.folder / "checkpoint-20").iterdir():
        path.unlink()
    (rig.folder / "checkpoint-20").rmdir()
    (rig.folder / "checkpoint-20").symlink_to(outside)
    assert restored(rig.store, rig.folder) == (20, only(20))
    assert contents(outside) == {"model.safetensors": b"precious"}


def test_leftovers_newer_than_the_store_are_shipped_and_torn_ones_set_aside(rig: Rig) -> None:
    """What a runtime that was killed had not shipped yet is not lost."""
    rig.write("checkpoint-30/model.safetensors", safetensors(30))
    rig.write("checkpoint-40/model.safetensors", safetensors(40)[:-1])
    again = Rig(rig.root, store=rig.store, attempt=2)
    assert again.shipper.ship_leftovers() == 30
    assert restored(rig.store, rig.folder) == (30, only(30))
    assert "0001/checkpoint-40/model.safetensors" in rig.aside()


def test_leftovers_that_are_not_newer_are_not_shipped(rig: Rig) -> None:
    """Nor is what the store has already."""
    assert Rig(rig.root, store=rig.store).shipper.ship_leftovers() is None
    (rig.folder / "checkpoint-20/model.safetensors").unlink()
    rig.write("checkpoint-15/model.safetensors", safetensors(15))
    assert Rig(rig.root, store=rig.store).shipper.ship_leftovers() is None
    assert rig.steps() == [10, 20]


@pytest.mark.parametrize(
    "name",
    ["/etc/x", "../x", "a/../x", "a//b", "", ".", "C:/x", "c:x", "a\\b", "a\0b", "a/", "\udcff"],
)
def test_a_name_that_would_leave_the_folder_makes_no_manifest(name: str) -> None:
    """Be it a file's name, its key, or a link's target; on any system."""
    file = GOOD["files"][0]  # type: ignore[index]
    for changed in (
        {"files": [{**file, "name": name}]},
        {"files": [{**file, "key": name}]},
        {"links": [{"name": name, "target": "a"}]},
        {"links": [{"name": "l", "target": name}]},
    ):
        with pytest.raises(BadManifest):
            Manifest.from_json(json.dumps({**GOOD, **changed}).encode())


def test_a_name_can_not_be_in_a_manifest_twice() -> None:
    """Nor be a file and a folder, by which a link could redirect a file."""
    file = GOOD["files"][0]  # type: ignore[index]
    assert Manifest.from_json(json.dumps(GOOD).encode()).step == 5
    for changed in (
        {"files": [file, file]},
        {"files": [file, {**file, "name": "a/b"}]},
        {"files": [{**file, "name": "l/x"}], "links": [{"name": "l", "target": "d"}]},
    ):
        with pytest.raises(BadManifest, match="twice"):
            Manifest.from_json(json.dumps({**GOOD, **changed}).encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.binary(max_size=60) | json_values.map(lambda v: json.dumps(v).encode()))
def test_no_bytes_are_more_than_a_bad_manifest(data: bytes) -> None:
    """The store is read by everyone with access to it."""
    with pytest.raises(BadManifest):
        Manifest.from_json(data)


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_no_field_is_trusted(field: str, value: object) -> None:
    """Each is checked, or read as text."""
    try:
        manifest = Manifest.from_json(json.dumps({**GOOD, field: value}).encode())
    except BadManifest:
        return
    assert all(is_safe(file.name) for file in manifest.files)
    assert isinstance(manifest.step, int)
    assert manifest.step >= 0


def test_a_node_whose_disk_is_full_says_what_is_needed(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next restore, with space, works."""

    def full(_key: str, path: Path) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(rig.store, "get_file", full)
        with pytest.raises(Unavailable, match="No space left") as caught:
            restore(rig.store, JOB, tmp_path / "fresh")
    assert "needs" in caught.value.fix
    assert restored(rig.store, tmp_path / "fresh") == (20, only(20))


def test_a_restore_needs_no_folder(tmp_path: Path) -> None:
    """It makes it; and a job without checkpoints has none."""
    store = FileStore(tmp_path / "store")
    store.create()
    assert restore(store, JOB, tmp_path / "none") is None
