"""Killed at any operation on the store, what is restored is one version and no mixture."""

from __future__ import annotations

import itertools
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.rig.checkpoints import (
    Clock,
    DyingStore,
    Killed,
    Rig,
    contents,
    restored,
    safetensors,
    state,
    zipped,
)

from llmcloud.runtime.errors import StoreFull
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def version(step: int, value: int) -> dict[str, bytes]:
    return {
        f"checkpoint-{step}/model.safetensors": safetensors(value),
        f"checkpoint-{step}/trainer_state.json": state(step),
    }


def plant(rig: Rig, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        rig.write(name, data)


def scene(root: Path) -> tuple[Path, list[dict[str, bytes]]]:
    """Return a store that holds steps 10 and 20, and what they hold."""
    rig = Rig(root / "first", keep=2)
    rig.poll()
    versions = [version(10, 1), version(20, 2)]
    for files in versions:
        plant(rig, files)
        rig.settle()
    return rig.store.root, versions


@pytest.mark.parametrize("does_it_first", [False, True])
@pytest.mark.parametrize("next_version", [version(30, 3), version(20, 3)], ids=["new", "again"])
def test_a_shipper_killed_at_any_operation_leaves_a_whole_checkpoint(
    tmp_path: Path, next_version: dict[str, bytes], does_it_first: bool
) -> None:
    """The newest before or the new one; and the next attempt ships and prunes as ever."""
    template, versions = scene(tmp_path)
    outcomes = []
    for at in itertools.count(1):
        root = tmp_path / str(at)
        shutil.copytree(template, root / "store")
        store = DyingStore(root / "store")
        rig = Rig(root, store=store, keep=2, attempt=2)
        rig.poll()
        plant(rig, next_version)
        rig.poll()
        store.dies_at, store.does_it_first = store.operations + at, does_it_first
        try:
            rig.poll(2.0)
        except Killed:
            is_over = False
        else:
            is_over = True
        store.dies_at = -1
        _, found = restored(store, root / "fresh")
        assert found in (versions[-1], next_version)
        outcomes.append(found)
        _continue(root, store)
        if is_over:
            break
    assert next_version in outcomes
    assert versions[-1] in outcomes
    assert len(outcomes) > 10


def _continue(root: Path, store: FileStore) -> None:
    """Let another attempt run over what the killed one left."""
    rig = Rig(root / "next", store=store, keep=2, attempt=3)
    restored(store, rig.folder)
    rig.poll()
    plant(rig, version(40, 4))
    assert rig.settle() == [40]
    assert len(rig.steps()) == 2
    assert restored(store, root / "fresh")[1] == version(40, 4)


@pytest.mark.parametrize("does_it_first", [False, True])
def test_a_restore_killed_at_any_operation_is_completed_by_the_next(
    tmp_path: Path, does_it_first: bool
) -> None:
    """Whatever it left in the folder."""
    template, versions = scene(tmp_path)
    for at in itertools.count(1):
        root = tmp_path / str(at)
        store = DyingStore(template)
        store.dies_at, store.does_it_first = at, does_it_first
        rig = Rig(root, store=FileStore(template))
        plant(rig, {**version(20, 9), "checkpoint-30/model.safetensors": b"torn"})
        try:
            restored(store, rig.folder)
        except Killed:
            store.dies_at = -1
            assert restored(store, rig.folder) == (20, versions[-1])
            assert contents(rig.folder) == versions[-1]
        else:
            break
    assert at >= 4


def test_a_restore_killed_between_two_renames_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is half old and half new never reaches a training."""
    template, versions = scene(tmp_path)
    store = FileStore(template)
    for at in itertools.count(1):
        rig = Rig(tmp_path / str(at), store=store)
        plant(rig, {**version(20, 9), "checkpoint-30/model.safetensors": b"torn"})
        calls = itertools.count(1)
        with monkeypatch.context() as patch:
            for name in ("rename", "replace"):
                patch.setattr(os, name, _dying(getattr(os, name), calls, at))
            try:
                restored(store, rig.folder)
            except Killed:
                is_over = False
            else:
                is_over = True
        assert restored(store, rig.folder) == (20, versions[-1])
        assert {safetensors(9), b"torn"} <= set(rig.aside().values())
        if is_over:
            break
    assert at >= 4


def _dying(function: Callable[..., object], calls: Iterator[int], at: int) -> Callable[..., object]:
    def counted(*args: object, **kwargs: object) -> object:
        if next(calls) == at:
            raise Killed
        return function(*args, **kwargs)

    return counted


def test_a_half_restored_folder_is_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files overwritten in place, one of which a killed restore had replaced: a mixture."""
    first = Rig(tmp_path / "first")
    first.poll()
    plant(first, {"model.npz": zipped(1), "optimizer.npz": zipped(1)})
    first.settle()
    rig = Rig(tmp_path / "second", store=first.store)
    plant(rig, {"model.npz": zipped(9), "optimizer.npz": zipped(9)})
    os.utime(rig.folder / "model.npz", (0, 0))
    os.utime(rig.folder / "optimizer.npz", (0, 0))
    for at in itertools.count(1):
        calls = itertools.count(1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", _dying(os.replace, calls, at))
            try:
                restored(rig.store, rig.folder)
            except Killed:
                assert Rig(rig.root, store=rig.store).shipper.ship_leftovers() is None
            else:
                break
    assert at == 3
    assert restored(rig.store, rig.folder)[1] == contents(first.folder)


def test_leftovers_shipped_by_a_runtime_that_is_killed_are_whole(tmp_path: Path) -> None:
    """And the next start ships them, if they were not."""
    template, versions = scene(tmp_path)
    for at in itertools.count(1):
        root = tmp_path / str(at)
        shutil.copytree(template, root / "store")
        store = DyingStore(root / "store")
        rig = Rig(root, store=store)
        plant(rig, version(30, 3))
        store.dies_at = store.operations + at
        try:
            rig.shipper.ship_leftovers()
        except Killed:
            store.dies_at = -1
            assert restored(store, root / "fresh")[1] in (versions[-1], version(30, 3))
            again = Rig(root, store=store)
            again.shipper.ship_leftovers()
            assert restored(store, again.folder) == (30, version(30, 3))
        else:
            break
    assert at > 10


def test_a_store_that_is_full_at_any_operation_loses_nothing(tmp_path: Path) -> None:
    """The shipper reports it or carries on, and ships when there is space."""
    template, versions = scene(tmp_path)
    for at in itertools.count(1):
        root = tmp_path / str(at)
        shutil.copytree(template, root / "store")
        store = DyingStore(root / "store", StoreFull("No space is left in the store."))
        rig = Rig(root, store=store, clock=Clock())
        rig.poll()
        plant(rig, version(30, 3))
        rig.poll()
        before = store.operations
        store.dies_at = before + at
        shipped = []
        try:
            shipped += rig.poll(2.0)
        except StoreFull:
            assert restored(FileStore(root / "store"), root / "fresh")[1] == versions[-1]
        died = store.operations >= store.dies_at
        store.dies_at = -1
        shipped += rig.poll(60.0)
        assert shipped == [30]
        assert restored(store, root / "fresh") == (30, version(30, 3))
        if not died:
            break
    assert at > 10
