"""What the shipper brings to the store, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.checkpoints import (
    JOB,
    DyingStore,
    Rig,
    complete_steps,
    contents,
    restored,
    safetensors,
    state,
    zipped,
)

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints import newest_valid
from llmcloud.runtime.errors import StoreFull

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    found = Rig(tmp_path)
    found.poll()
    return found


def test_a_folder_is_shipped_once_it_is_quiet(rig: Rig, tmp_path: Path) -> None:
    """And comes back under its own names."""
    rig.write("checkpoint-100/model.safetensors", safetensors(1))
    assert rig.poll() == []
    rig.write("checkpoint-100/trainer_state.json", state(100))
    assert rig.poll() == rig.poll() == []
    assert rig.poll() == [100]
    assert rig.settle() == []
    assert restored(rig.store, tmp_path / "elsewhere") == (100, contents(rig.folder))
    found = newest_valid(rig.store, JOB)
    assert found
    assert (found.step, found.size_bytes) == (100, sum(map(len, contents(rig.folder).values())))
    key = layout.checkpoint(JOB, 100) + "checkpoint-100/trainer_state.json"
    assert rig.store.get(key).data == state(100)


def test_a_rename_from_a_temporary_name_needs_no_quiet_period(rig: Rig) -> None:
    """One look sees `tmp-checkpoint-5`, the next its new name, the one after ships it."""
    rig.write("tmp-checkpoint-5/model.safetensors", safetensors(1))
    rig.write("tmp-checkpoint-5/any.thing", b"x")
    assert rig.settle() == []
    (rig.folder / "tmp-checkpoint-5").rename(rig.folder / "checkpoint-5")
    assert rig.poll(0.1) == []
    assert rig.poll(0.1) == [5]


def test_a_single_file_that_is_whole_at_first_sight_needs_no_quiet_period(rig: Rig) -> None:
    """Where its format proves it; a pickle, which doesn't, waits."""
    rig.write("step-5.npz", zipped(1))
    assert (rig.poll(0.1), rig.poll(0.1)) == ([], [5])
    rig.write("step-6.pkl", b"opaque")
    assert (rig.poll(0.1), rig.poll(0.1), rig.settle()) == ([], [], [6])


def test_a_file_overwritten_in_place_ships_each_version_under_its_own_step(
    tmp_path: Path,
) -> None:
    """The step is the training's when the file was written, or else one more than before."""
    step: list[int | None] = [None]
    rig = Rig(tmp_path, current_step=lambda: step[0])
    rig.poll()
    shipped = []
    for value, known in enumerate([None, 250, 250, 500, None]):
        step[0] = known
        rig.write("ckpt.pt", zipped(value))
        rig.poll(0.1)
        step[0] = 10**6  # the training goes on while the file is quiet
        shipped += rig.settle()
    assert shipped == [1, 250, 251, 500, 501]
    assert restored(rig.store, tmp_path / "elsewhere") == (501, {"ckpt.pt": zipped(4)})


def test_trainer_state_beside_the_file_knows_its_step(rig: Rig) -> None:
    """Better than the metrics do."""
    rig.write("model.safetensors", safetensors(1))
    rig.write("trainer_state.json", state(700))
    assert rig.settle() == [700]


def test_at_most_one_checkpoint_an_interval_and_the_newest_wins(tmp_path: Path) -> None:
    """Those in between are never shipped; the end does not wait."""
    rig = Rig(tmp_path, interval_s=60.0)
    rig.poll()
    for step in range(1, 6):
        rig.write(f"step-{step}.npz", zipped(step))
        rig.settle()
    assert rig.steps() == [1]
    assert rig.poll(60) == [5]
    rig.write("step-6.npz", zipped(6))
    rig.write("step-7.npz", zipped(7))
    assert rig.shipper.flush(30) == [7]
    assert rig.steps() == [1, 5, 7]


def test_flush_ships_the_newest_valid_one_without_waiting(rig: Rig) -> None:
    """A torn newer one is passed over, with a warning."""
    rig.write("checkpoint-10/model.safetensors", safetensors(1))
    rig.write("checkpoint-20/model.safetensors", safetensors(2)[:-1])
    assert rig.shipper.flush(30) == [10]
    assert any("Checkpoint 20 is not shipped" in warning for warning in rig.warnings)


def test_a_torn_checkpoint_is_never_complete(rig: Rig) -> None:
    """However quiet it is; when it is mended it ships."""
    path = rig.write("step-3.npz", zipped(1)[:-30])
    assert rig.settle() == []
    assert rig.shipper.flush(10) == []
    assert rig.steps() == []
    path.write_bytes(zipped(1))
    assert rig.settle() == [3]


def test_nothing_ships_while_a_temporary_file_in_it_changes(rig: Rig) -> None:
    """Not at the end either: `model.bin.tmp` says that it isn't whole."""
    rig.write("checkpoint-9/config.json", b"{}")
    rig.write("checkpoint-9/model.bin.tmp", b"half")
    assert rig.settle() == []
    assert rig.shipper.flush(10) == []
    (rig.folder / "checkpoint-9/model.bin.tmp").rename(rig.folder / "checkpoint-9/model.bin")
    assert rig.settle() == [9]


def test_keep_prunes_the_oldest_and_leftovers(tmp_path: Path) -> None:
    """What a killed upload left goes with them, but not what is newer."""
    rig = Rig(tmp_path, keep=2)
    rig.poll()
    for step in (1, 25):
        rig.store.put(layout.checkpoint(JOB, step) + "half", b"")
    for step in (10, 20, 30):
        rig.write(f"step-{step}.npz", zipped(step))
        rig.settle()
    assert rig.store.folders(layout.checkpoints(JOB)) == ["0000000020", "0000000030"]


def test_keep_zero_keeps_all(tmp_path: Path) -> None:
    """Because someone may want the whole history."""
    rig = Rig(tmp_path, keep=0)
    rig.poll()
    for step in range(1, 6):
        rig.write(f"step-{step}.npz", zipped(step))
        rig.settle()
    assert rig.steps() == [1, 2, 3, 4, 5]


def test_a_run_that_starts_over_keeps_its_latest_whatever_is_older(tmp_path: Path) -> None:
    """A job that ignores what was restored counts from 1 again; its last one must survive."""
    first = Rig(tmp_path / "a", keep=2)
    store = first.store
    for step in (100, 200):
        first.write(f"step-{step}.npz", zipped(step % 256))
        first.settle()
    second = Rig(tmp_path / "b", store=store, keep=2, attempt=2)
    second.poll()
    for step in (1, 2):
        second.write(f"step-{step}.npz", zipped(step))
        second.settle()
    assert complete_steps(store) == [2, 100, 200]


def test_a_step_written_again_replaces_the_former_at_once(tmp_path: Path) -> None:
    """The same bytes do nothing; other bytes are the step from then on, and leave no rest."""
    rig = Rig(tmp_path)
    rig.poll()
    for value, shipped in ((1, [7]), (1, []), (2, [7])):
        rig.write("step-7.npz", zipped(value))
        assert rig.settle() == shipped
    assert restored(rig.store, tmp_path / "elsewhere") == (7, {"step-7.npz": zipped(2)})
    assert len(list(rig.store.objects(layout.checkpoint(JOB, 7)))) == 2


def test_what_was_restored_is_not_shipped_again(tmp_path: Path) -> None:
    """On the next attempt, with numbered files as with those overwritten in place."""
    for name in ("step-7.npz", "ckpt.pt"):
        first = Rig(tmp_path / name)
        first.poll()
        first.write(name, zipped(1))
        (step,) = first.settle()
        second = Rig(tmp_path / name / "second", store=first.store, attempt=2)
        assert restored(second.store, second.folder)[0] == step
        assert second.settle() + second.shipper.flush(5) == []
        assert second.shipper.announced() == []


def test_a_checkpoint_that_changes_while_it_is_read_starts_over(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is COMPLETE in the end is one version, not a mixture."""
    rig.write("checkpoint-5/a.bin", b"old")
    rig.write("checkpoint-5/b.bin", b"old")
    send, sent = rig.store.put_file, []

    def racing(key: str, path: Path) -> str:
        digest = send(key, path)
        if not sent:
            for name in ("a.bin", "b.bin"):
                rig.write(f"checkpoint-5/{name}", b"newer")
        sent.append(key)
        return digest

    monkeypatch.setattr(rig.store, "put_file", racing)
    assert rig.settle() == []
    assert rig.settle() == [5]
    assert set(restored(rig.store, rig.root / "elsewhere")[1].values()) == {b"newer"}


def test_a_file_that_vanishes_while_it_is_shipped_gives_no_checkpoint(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer's own rotation removes old ones at any time; the next one ships."""
    rig.write("checkpoint-5/a.bin", b"1")
    rig.write("checkpoint-5/b.bin", b"2")
    send = rig.store.put_file

    def racing(key: str, path: Path) -> str:
        digest = send(key, path)
        (rig.folder / "checkpoint-5/b.bin").unlink(missing_ok=True)
        return digest

    monkeypatch.setattr(rig.store, "put_file", racing)
    assert rig.poll() + rig.poll(2.0) == []
    (rig.folder / "checkpoint-5/a.bin").unlink()
    rig.write("checkpoint-6/a.bin", b"3")
    assert rig.settle() == [6]
    assert rig.steps() == [6]


def test_stop_is_honoured_between_two_files(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a flush afterwards ships it whole."""
    for name in ("a.bin", "b.bin", "c.bin"):
        rig.write(f"checkpoint-5/{name}", b"x")
    send, sent = rig.store.put_file, []

    def stopping(key: str, path: Path) -> str:
        sent.append(key)
        rig.shipper.stop()
        return send(key, path)

    monkeypatch.setattr(rig.store, "put_file", stopping)
    assert rig.settle() == []
    assert len(sent) == 1
    monkeypatch.undo()
    assert rig.shipper.flush(10) == [5]


def test_a_flush_ends_at_its_deadline(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is about to be taken; half a checkpoint is none."""
    for name in ("a.bin", "b.bin", "c.bin"):
        rig.write(f"checkpoint-5/{name}", b"x")
    send = rig.store.put_file

    def slow(key: str, path: Path) -> str:
        rig.clock.now += 6
        return send(key, path)

    monkeypatch.setattr(rig.store, "put_file", slow)
    assert rig.shipper.flush(10) == []
    assert rig.steps() == []
    assert rig.warnings == ["The time was too short to ship the newest checkpoint."]


def test_a_full_store_is_reported_cleaned_and_tried_again(tmp_path: Path) -> None:
    """What was sent of it goes, so that the space is free; not each second, but later."""
    store = DyingStore(tmp_path / "store", StoreFull("No space is left in the store."))
    rig = Rig(tmp_path, store=store)
    rig.poll()
    rig.write("checkpoint-5/a.bin", b"1")
    rig.write("checkpoint-5/b.bin", b"2")
    rig.poll()
    sends = 0

    def full(key: str, path: Path) -> str:
        nonlocal sends
        sends += 1
        if sends == 2:
            raise store.failure
        return DyingStore.put_file(store, key, path)

    store.put_file = full  # type: ignore[method-assign]
    with pytest.raises(StoreFull):
        rig.poll(2.0)
    assert list(store.objects(layout.checkpoints(JOB))) == []
    assert rig.poll() == []
    assert rig.poll(30.0) == [5]


def test_a_pointer_travels_with_the_step_it_names(rig: Rig, tmp_path: Path) -> None:
    """`latest` of DeepSpeed and a `last.ckpt` that is a symlink; one for another step doesn't."""
    rig.write("global_step100/mp_rank_00_model_states.pt", zipped(1))
    rig.write("latest", b"global_step100")
    rig.write("checkpoint", b'model_checkpoint_path: "ckpt-90"')
    (rig.folder / "newest").symlink_to("global_step100")
    assert rig.settle() == [100]
    target = tmp_path / "elsewhere"
    assert set(restored(rig.store, target)[1]) == {
        "global_step100/mp_rank_00_model_states.pt",
        "latest",
    }
    assert (target / "newest").readlink().as_posix() == "global_step100"


def test_a_single_file_renamed_from_a_temporary_name_needs_no_quiet_period(rig: Rig) -> None:
    """Whatever its format."""
    rig.write("step-6.pkl.tmp", b"opaque")
    assert rig.settle() == []
    (rig.folder / "step-6.pkl.tmp").rename(rig.folder / "step-6.pkl")
    assert (rig.poll(0.1), rig.poll(0.1)) == ([], [6])


def test_a_name_that_no_object_can_have_is_told_once(rig: Rig) -> None:
    """The checkpoint stays here; the one before it stands, and the next one ships."""
    rig.write("checkpoint-5/back\\slash.bin", b"x")
    assert rig.settle() + rig.settle() + rig.shipper.flush(5) == []
    assert len(rig.warnings) == 1
    assert "can't be the name of an object" in rig.warnings[0]
    rig.write("checkpoint-6/plain.bin", b"x")
    assert rig.settle() == [6]
