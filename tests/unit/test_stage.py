"""What a job needs goes into its store under the digest of itself, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmcloud.core import stage
from llmcloud.core.errors import SpecError
from llmcloud.core.spec.load import load
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


def upload_all(store: FileStore, loaded: LoadedSpec) -> list[str]:
    """Upload the data of a job and return the names of the files that were sent."""
    sent: list[str] = []
    for tree in stage.data_trees(loaded):
        stage.upload(store, list(tree.uploads), lambda each: sent.append(each.path.name))
    return sent


def test_data_that_the_store_has_is_not_sent_again(store: FileStore, loaded: LoadedSpec) -> None:
    assert upload_all(store, loaded) == ["a.txt", "b.txt"]
    assert upload_all(store, loaded) == []


def test_data_that_is_not_here_may_be_meant_as_what_was_pushed(loaded: LoadedSpec) -> None:
    """The name of pushed data looks like a path: the hint tells what to write."""
    (loaded.path.parent / "corpus").rename(loaded.path.parent / "elsewhere")
    with pytest.raises(SpecError) as caught:
        stage.data_trees(loaded)
    (problem,) = caught.value.problems
    assert "llmcloud data list" in (problem.hint or "")


def test_a_file_that_changes_before_it_is_sent_is_not_kept(
    store: FileStore, loaded: LoadedSpec
) -> None:
    """Its key names the digest that it had: later jobs would take it for that."""
    (tree,) = stage.data_trees(loaded)
    tree.uploads[1].path.write_text("another")
    with pytest.raises(Failure, match="changed while it was uploaded"):
        stage.upload(store, list(tree.uploads), lambda _: None)
    assert store.exists(tree.uploads[0].key)
    assert not store.exists(tree.uploads[1].key)


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
    assert [each.path.name for each in tree.uploads] == ["a.txt", "b.txt"]
    assert "c.txt does not travel: it is a link." in tree.warnings[0]
