"""What a job needs goes into its store under the digest of itself, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmcloud.core import stage
from llmcloud.core.errors import SpecError
from llmcloud.core.spec.load import load
from llmcloud.core.transfer.meter import Meter
from llmcloud.runtime.errors import Failure
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from llmcloud.core.spec.load import LoadedSpec


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "store")
    store.create()
    return store


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSpec:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("once")
    (tmp_path / "corpus" / "b.txt").write_text("upon")
    job = tmp_path / "job.yaml"
    job.write_text("{name: a, run: 'true', data: [{source: corpus, target: data}]}")
    return load(str(job), environ={"LLMCLOUD_HOME": str(tmp_path / "home")})


def upload_all(store: FileStore, loaded: LoadedSpec) -> Meter:
    """Upload the data of a job and return what was sent."""
    meter = Meter()
    for tree in stage.data_trees(loaded):
        for lacking in stage.data(store, tree):
            lacking.send(meter)
    return meter


def test_data_that_the_store_has_is_not_sent_again(store: FileStore, loaded: LoadedSpec) -> None:
    sent = upload_all(store, loaded)
    assert (sent.files_done, sent.bytes_done) == (2, len("once" + "upon"))
    assert upload_all(store, loaded).files_total == 0


def test_only_what_is_missing_is_sent(store: FileStore, loaded: LoadedSpec) -> None:
    """…also when the files have other times by now: what counts is the digest."""
    upload_all(store, loaded)
    (tree,) = stage.data_trees(loaded)
    store.delete(tree.prefix + "b.txt")
    os.utime(tree.root / "a.txt")
    os.utime(tree.root / "b.txt")
    sent = upload_all(store, loaded)
    assert (sent.files_done, sent.bytes_done) == (1, len("upon"))
    assert store.get(tree.prefix + "b.txt").data == b"upon"


def test_a_single_file_is_staged_by_its_own_digest(store: FileStore, loaded: LoadedSpec) -> None:
    text = loaded.path.read_text().replace("corpus", "corpus/a.txt")
    loaded.path.write_text(text)
    upload_all(store, load(str(loaded.path), environ={"LLMCLOUD_HOME": "/nowhere"}))
    digest = hashlib.sha256(b"once").hexdigest()
    assert store.get(f"data/{digest}/a.txt").data == b"once"


def test_an_empty_folder_needs_nothing(store: FileStore, loaded: LoadedSpec) -> None:
    for name in ("a.txt", "b.txt"):
        (loaded.path.parent / "corpus" / name).unlink()
    assert upload_all(store, loaded).files_total == 0


def test_data_that_is_not_here_may_be_meant_as_what_was_pushed(loaded: LoadedSpec) -> None:
    """The name of pushed data looks like a path: the hint tells what to write."""
    (loaded.path.parent / "corpus").rename(loaded.path.parent / "elsewhere")
    with pytest.raises(SpecError) as caught:
        stage.data_trees(loaded)
    (problem,) = caught.value.problems
    assert "llmcloud data list" in (problem.hint or "")


LARGE = b"x" * (20 << 20)  # three parts


@pytest.mark.parametrize("data", [b"upon", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("has_same_times", [False, True])
def test_a_file_that_changes_before_it_is_sent_is_not_kept(
    store: FileStore,
    loaded: LoadedSpec,
    data: bytes,
    has_same_times: bool,
) -> None:
    """Its key names the digest that it had: later jobs would take it for that."""
    path = loaded.path.parent / "corpus" / "b.txt"
    path.write_bytes(data)
    (tree,) = stage.data_trees(loaded)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"y")
    if has_same_times:  # as on a file system whose clock is coarse
        now = path.stat()
        times = {"modified_at": now.st_mtime, "changed_at": now.st_ctime}
        items = tuple(
            item._replace(**times) if item.name == "b.txt" else item for item in tree.items
        )
        tree = dataclasses.replace(tree, items=items)
    (lacking,) = stage.data(store, tree)
    with pytest.raises(Failure, match="changed while it was uploaded") as caught:
        lacking.send(Meter())
    assert (caught.value.where, caught.value.fix) == (str(path), "Submit again.")
    assert [entry.key for entry in store.objects()] == [tree.prefix + "a.txt"]


def test_a_file_that_went_is_named(store: FileStore, loaded: LoadedSpec) -> None:
    (tree,) = stage.data_trees(loaded)
    (lacking,) = stage.data(store, tree)
    (tree.root / "b.txt").unlink()
    with pytest.raises(Failure, match=r"b\.txt: No such file"):
        lacking.send(Meter())


def test_data_that_cannot_be_read_is_refused_by_its_name() -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path lies where only its owner can go
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "corpus").mkdir()
        (folder / "corpus" / "b.txt").write_text("upon")
        (folder / "corpus" / "b.txt").chmod(0)
        job = folder / "job.yaml"
        job.write_text("{name: a, run: 'true', data: [{source: corpus, target: data}]}")
        loaded = load(str(job), environ={"LLMCLOUD_HOME": name})
        former = os.geteuid()
        if former == 0:  # root reads everything
            os.seteuid(65534)
        try:
            with pytest.raises(SpecError) as caught:
                stage.data_trees(loaded)
        finally:
            os.seteuid(former)
    assert "b.txt can't be read" in caught.value.problems[0].message


def test_a_link_in_data_is_left_out_and_named(loaded: LoadedSpec, tmp_path: Path) -> None:
    (tmp_path / "corpus" / "c.txt").symlink_to("a.txt")
    (tree,) = stage.data_trees(loaded)
    assert [each.name for each in tree.items] == ["a.txt", "b.txt"]
    assert "c.txt does not travel: it is a link." in tree.warnings[0]


def test_a_pattern_in_a_bucket_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """A node fetches an object or a folder; it would find nothing under the pattern itself."""
    job = tmp_path / "job.yaml"
    job.write_text("{name: a, run: 'true', data: [{source: 's3://bucket/*.bin', target: data}]}")
    with pytest.raises(SpecError) as caught:
        stage.data_trees(load(str(job), environ={"LLMCLOUD_HOME": str(tmp_path / "home")}))
    assert "pattern" in caught.value.problems[0].message
