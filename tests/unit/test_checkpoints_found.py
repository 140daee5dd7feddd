"""Which files are which checkpoint, and which of them are whole."""

from __future__ import annotations

import io
import json
import os
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.checkpoints import safetensors, zipped

from llmcloud.runtime.checkpoints.found import scan, step_of
from llmcloud.runtime.checkpoints.validity import check

if TYPE_CHECKING:
    from pathlib import Path


def plant(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(root: Path) -> dict[int | None, set[str]]:
    return {each.step: {file.name for file in each.files} for each in scan(root).candidates}


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-100", 100),
        ("global_step1200", 1200),
        ("step_000500", 500),
        ("iter_0000010", 10),
        ("epoch_3", 3),
        ("epoch=3-step=100", 100),
        ("100", 100),
        ("100_steps", 100),
        ("version_0", None),
        ("run-1", None),
        ("runs", None),
        ("model", None),
        ("9" * 40, None),
    ],
)
def test_a_folders_name_tells_its_step(name: str, step: int | None) -> None:
    """As the frameworks write them; a number alone counts, a number after any word doesn't."""
    assert step_of(name, is_folder=True) == step


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step-100.npz", 100),
        ("ckpt-100.pt", 100),
        ("ckpt100.pt", 100),
        ("ckpt_iter_2500.pth", 2500),
        ("model_step_100.safetensors", 100),
        ("epoch=3-step=100.ckpt", 100),
        ("epoch=3-step=100-v1.ckpt", 100),
        ("epoch=4.ckpt", 4),
        ("model.ckpt-100.index", 100),
        ("model.ckpt-100.data-00000-of-00001", 100),
        ("model_300.pt", 300),
        ("300.pt", 300),
        ("G_300.pth", 300),
        ("ckpt.pt", None),
        ("model.safetensors", None),
        ("model-00001-of-00002.safetensors", None),
        ("llama-7b.pt", None),
        ("gpt2.pt", None),
        ("events.out.tfevents.1700000000.host", None),
        ("report_2024.json", None),
    ],
)
def test_a_files_name_tells_its_step(name: str, step: int | None) -> None:
    """A bare number counts in the name of weights only; a shard's number never does."""
    assert step_of(name, is_folder=False) == step


def test_files_of_one_step_are_one_checkpoint_wherever_they_lie(tmp_path: Path) -> None:
    """The outermost name with a step decides; a picture alone makes none."""
    plant(
        tmp_path,
        "run/checkpoint-100/step_7/model.pt",
        "run/checkpoint-100/.metadata",
        "optimizer_step_100.pt",
        "loss_step_100.png",
        "loss_step_110.png",
        "runs/events.out.tfevents.1",
    )
    assert found(tmp_path) == {
        100: {
            "run/checkpoint-100/step_7/model.pt",
            "run/checkpoint-100/.metadata",
            "optimizer_step_100.pt",
            "loss_step_100.png",
        }
    }


@pytest.mark.parametrize(
    "name",
    [
        "tmp-checkpoint-100/model.pt",
        "checkpoint-100.tmp/model.pt",
        "100.orbax-checkpoint-tmp-17/model.pt",
        ".step-100.npz",
        "step-100.npz.tmp",
        "step-100.npz.partial",
        "step-100.npz~",
        ".hidden/ckpt.pt",
    ],
)
def test_temporary_names_are_no_candidates(tmp_path: Path, name: str) -> None:
    """Until they are renamed."""
    plant(tmp_path, name)
    assert found(tmp_path) == {}


def test_weights_without_a_step_are_one_checkpoint_with_the_small_files_beside_them(
    tmp_path: Path,
) -> None:
    """`save_pretrained` straight into the folder; what lies elsewhere is no part of it."""
    names = {"model.safetensors", "config.json", "trainer_state.json", "tokenizer.model"}
    plant(tmp_path, *names, "train.log", "runs/events.out.tfevents.1", "wandb/settings.json")
    assert found(tmp_path) == {None: names}


def test_beside_numbered_ones_only_names_that_say_so_are_overwritten_in_place(
    tmp_path: Path,
) -> None:
    """Or the final `model.safetensors` would be resumed from, without its optimizer."""
    plant(tmp_path, "checkpoint-5/model.safetensors", "model.safetensors", "last.ckpt", "x.json")
    assert found(tmp_path) == {5: {"checkpoint-5/model.safetensors"}, None: {"last.ckpt"}}


def test_links_are_followed_within_the_folder_only(tmp_path: Path) -> None:
    """One that leads out would ship what isn't the job's; one to a folder might never end."""
    plant(tmp_path, "outside", "folder/shared.bin", "folder/checkpoint-5/a.bin")
    folder = tmp_path / "folder"
    (folder / "checkpoint-5/in.bin").symlink_to("../shared.bin")
    (folder / "checkpoint-5/out.bin").symlink_to("../../outside")
    (folder / "checkpoint-5/up").symlink_to("..")
    result = scan(folder)
    assert {file.name for file in result.candidates[0].files} == {
        "checkpoint-5/a.bin",
        "checkpoint-5/in.bin",
    }
    assert len(result.warnings) == 2


def test_an_absent_folder_is_empty(tmp_path: Path) -> None:
    """The training makes it when it first saves."""
    assert found(tmp_path / "absent") == {}


@given(st.text(max_size=40))
def test_any_name_is_read(name: str) -> None:
    """Without an error, and never as a negative step."""
    for is_folder in (True, False):
        step = step_of(name, is_folder=is_folder)
        assert step is None or step >= 0


def numpy_archive() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, weights=np.arange(40.0), step=np.int64(3))
    return buffer.getvalue()


INDEX = json.dumps({"weight_map": {"w": "shard-1.safetensors"}}).encode()


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("a.safetensors", safetensors(1)),
        ("a.npz", numpy_archive()),
        ("a.pt", zipped(1)),
        ("a.ckpt", zipped(1)),
        ("a.json", b'{"global_step": 100}'),
    ],
)
def test_every_truncation_is_noticed(tmp_path: Path, name: str, whole: bytes) -> None:
    """At any length, of the formats that tell their end."""
    path = tmp_path / name
    path.write_bytes(whole)
    assert check(path) is None
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if name.endswith((".pt", ".ckpt")) and 0 < length < 4:
            continue  # too short to tell from a pickle
        assert check(path), length


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.pt", b"", "empty"),
        ("a.unknown", b"", "empty"),
        ("a.pt", bytes(5000), "zeros"),
        ("a.npz", b"no zip at all", "truncated"),
        ("a.safetensors", safetensors(1) + b"more", "bytes where"),
        ("a.safetensors", b"\x02\0\0\0\0\0\0\0[]", "can't be read"),
        ("a.json", b"[" * 200_000, "JSON"),
        ("model.safetensors.index.json", INDEX, "shard-1.safetensors, which is missing"),
        ("model.safetensors.index.json", b'{"weight_map": 3}', "index"),
        ("a.pt", zipped(1)[:40] + bytes(40) + zipped(1)[80:], None),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, data: bytes, reason: str | None) -> None:
    """With the file's name; bytes torn inside a member are for the digest to find."""
    (tmp_path / name).write_bytes(data)
    found_reason = check(tmp_path / name)
    if reason is None:
        assert found_reason is None
    else:
        assert found_reason
        assert reason in found_reason
        assert name in found_reason


def test_formats_that_tell_nothing_only_must_hold_something(tmp_path: Path) -> None:
    """A legacy pickle, any other format; and an empty marker file beside the weights."""
    (tmp_path / "a.pt").write_bytes(pickle.dumps([1, 2]))
    (tmp_path / "weights").write_bytes(b"any")
    (tmp_path / "commit_success.txt").write_bytes(b"")
    assert check(tmp_path) is None
    (tmp_path / "b.bin").write_bytes(b"")
    assert check(tmp_path) == "b.bin is empty"


def test_a_folder_is_as_good_as_its_worst_file(tmp_path: Path) -> None:
    """The index's shards included; an empty folder is no checkpoint."""
    assert check(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_bytes(INDEX)
    (tmp_path / "shard-1.safetensors").write_bytes(safetensors(1))
    assert check(tmp_path) is None
    os.truncate(tmp_path / "shard-1.safetensors", 70)
    assert check(tmp_path)


@given(st.binary(max_size=200), st.sampled_from(["a.safetensors", "a.npz", "a.pt", "a.json"]))
def test_no_bytes_break_the_check(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    """Whatever a crash left on the disk."""
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    reason = check(path)
    assert reason is None or name in reason
