"""What a node fetches is what was submitted, and what it sends is the job's own."""

from __future__ import annotations

import hashlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

from llmcloud.runtime import fetch, layout
from llmcloud.runtime.digests import tree_digest
from llmcloud.runtime.errors import Unavailable
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.task import DataSource, Task

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"a.txt": b"a", "deep/b.bin": b"\0b"}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(tmp_path / "store")
    made.create()
    return made


def staged(store: FileStore) -> str:
    """Stage a tree as a submit does and return its prefix."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    prefix = layout.data(tree_digest(digests))
    for name, data in FILES.items():
        store.put(prefix + name, data)
    return prefix


def bring(store: FileStore, source: str, folder: Path) -> None:
    task = Task("job-1", "job", "true", data=(DataSource(source, "data"),))
    fetch.fetch(store, task, folder, lambda: None)


def test_a_staged_tree_arrives_as_it_was(store: FileStore, tmp_path: Path) -> None:
    bring(store, staged(store), tmp_path / "code")
    data = tmp_path / "code" / "data"
    assert {name: (data / name).read_bytes() for name in FILES} == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_staged_file_of_other_bytes_is_refused(
    store: FileStore, tmp_path: Path, name: str
) -> None:
    prefix = staged(store)
    store.put(prefix + name, b"other")
    with pytest.raises(Unavailable, match="not what was submitted"):
        bring(store, prefix, tmp_path / "code")
    assert not (tmp_path / "code").exists()


def test_a_staged_tree_that_lacks_a_file_is_refused(store: FileStore, tmp_path: Path) -> None:
    prefix = staged(store)
    store.delete(prefix + "a.txt")
    with pytest.raises(Unavailable):
        bring(store, prefix, tmp_path / "code")


def test_a_single_staged_file_is_checked_too(store: FileStore, tmp_path: Path) -> None:
    key = layout.data(hashlib.sha256(b"tokens").hexdigest()) + "tokens.bin"
    store.put(key, b"tokens")
    bring(store, key, tmp_path / "good")
    assert (tmp_path / "good" / "data").read_bytes() == b"tokens"
    store.put(key, b"other")
    with pytest.raises(Unavailable):
        bring(store, key, tmp_path / "bad")


def test_outputs_that_are_no_files_of_the_job_are_named(store: FileStore, tmp_path: Path) -> None:
    code = tmp_path / "code"
    (code / "out").mkdir(parents=True)
    (code / "out" / "loss.json").write_text("{}")
    (code / "out" / "inner").symlink_to("loss.json")
    (code / "out" / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(code / "out" / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(code / "out" / "socket"))
    left_out = fetch.send_outputs(store, "o/", code, ["out", "absent"])
    assert sorted(left_out) == ["out/passwd", "out/pipe", "out/socket"]
    assert [entry.key for entry in store.objects("o/")] == ["o/out/inner", "o/out/loss.json"]


def test_an_output_folder_that_is_a_link_elsewhere_is_not_followed(
    store: FileStore, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (tmp_path / "secret").write_text("s")
    (code / "out").symlink_to(tmp_path)
    assert fetch.send_outputs(store, "o/", code, ["out"]) == ["out"]
    assert list(store.objects("o/")) == []
