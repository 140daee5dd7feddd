"""What a submit brings into a store, whichever that is."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from llmcloud.core import package, stage
from llmcloud.core.spec.load import load
from llmcloud.core.transfer import retry, stream
from llmcloud.core.transfer.meter import Meter
from llmcloud.runtime import fetch, layout
from llmcloud.runtime.bucket import BucketStore
from llmcloud.runtime.errors import Failure
from llmcloud.runtime.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rig.stores import StoreRig

    from llmcloud.runtime.objects import ObjectStore

MIB = 1 << 20


@pytest.fixture
def store(
    store_rig: StoreRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    monkeypatch.setattr(retry, "BACKOFF_S", 0.001)
    with store_rig.empty_store(tmp_path) as made:
        yield made


def code(folder: Path, mib: int) -> package.Archive:
    """Look at a code folder of this size that can't be compressed."""
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text("print(1)")
    (folder / "weights.bin").write_bytes(os.urandom(mib * MIB))
    return package.look(folder, (), 10**9)


def unfinished(store: ObjectStore) -> list[str]:
    """Return what was begun and is neither there nor aborted; Azure forgets that by itself."""
    if isinstance(store, BucketStore) and not store.url.startswith("az:"):
        return [upload.key for upload in store.api.unfinished("")]
    return []


@pytest.mark.parametrize("mib", [0, 20])
def test_code_is_sent_once_and_arrives(store: ObjectStore, tmp_path: Path, mib: int) -> None:
    """…in one request, or in parts."""
    archive = code(tmp_path / "code", mib)
    meter = Meter()
    for load_ in stage.code(store, archive):
        load_.send(meter)
    assert (meter.bytes_done, meter.files_done) == (archive.size_bytes, 1)
    assert stage.code(store, archive) == []
    task = Task("job-1", "job", "true", code=archive.digest)
    fetch.fetch(store, task, tmp_path / "node", lambda: None)
    assert package.look(tmp_path / "node", (), 10**9).digest == archive.digest
    assert unfinished(store) == []


def test_code_that_changes_while_it_is_sent_leaves_nothing(
    store: ObjectStore, tmp_path: Path
) -> None:
    archive = code(tmp_path / "code", 40)
    (tmp_path / "code" / "weights.bin").write_bytes(os.urandom(40 * MIB))
    (lacking,) = stage.code(store, archive)
    with pytest.raises(Failure, match="changed while it was uploaded"):
        lacking.send(Meter())
    assert list(store.objects()) == []
    assert unfinished(store) == []


DYING = """
import os, signal, sys
from pathlib import Path
from llmcloud.core import package, stores
from llmcloud.core.transfer import stream
from llmcloud.runtime import layout

def dying():
    for number, chunk in enumerate(archive.packed()):
        if number == 30:  # MiB
            os.kill(os.getpid(), signal.SIGKILL)
        yield chunk

archive = package.look(Path(sys.argv[2]), (), 10**9)
store, key = stores.open_store(sys.argv[1]), layout.code(archive.digest)
stream.send(store, key, dying, archive.packed_bytes_max)
"""


def test_a_kill_while_code_is_sent_leaves_no_half_object(
    store: ObjectStore, tmp_path: Path
) -> None:
    """…and the next submit sends it whole, and frees what had come."""
    archive = code(tmp_path / "code", 40)
    argv = [sys.executable, "-c", DYING, store.url, tmp_path / "code"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(store.objects()) == []
    (lacking,) = stage.code(store, archive)
    lacking.send(Meter())
    assert [entry.key for entry in store.objects()] == [layout.code(archive.digest)]
    assert unfinished(store) == []


def test_a_second_submit_at_once_ends_well(store: ObjectStore, tmp_path: Path) -> None:
    """…when the first is done before it, and has freed what it sent."""
    archive = code(tmp_path / "code", 20)

    def overtaken() -> Iterator[bytes]:
        for number, chunk in enumerate(archive.packed()):
            if number == 18:  # MiB: it has begun
                stream.send(store, key, archive.packed, archive.packed_bytes_max)
            yield chunk

    key = layout.code(archive.digest)
    stream.send(store, key, overtaken, archive.packed_bytes_max)
    assert store.exists(key)
    assert unfinished(store) == []


@pytest.fixture
def tree(tmp_path: Path) -> stage.DataTree:
    (tmp_path / "corpus" / "deep").mkdir(parents=True)
    (tmp_path / "corpus" / "a.txt").write_text("once")
    (tmp_path / "corpus" / "deep" / "b.bin").write_bytes(os.urandom(20 * MIB))
    job = tmp_path / "job.yaml"
    job.write_text("{name: a, run: 'true', data: [{source: corpus, target: data}]}")
    (found,) = stage.data_trees(load(str(job), environ={"LLMCLOUD_HOME": str(tmp_path)}))
    return found


def test_data_is_sent_once_and_arrives(
    store: ObjectStore, tree: stage.DataTree, tmp_path: Path
) -> None:
    for lacking in stage.data(store, tree):
        lacking.send(Meter())
    assert stage.data(store, tree) == []
    task = Task("job-1", "job", "true", data=(tree.source,))
    fetch.fetch(store, task, tmp_path / "node", lambda: None)
    assert (tmp_path / "node" / "data" / "a.txt").read_text() == "once"
    assert stage.data(store, dataclasses.replace(tree, root=tmp_path / "nowhere")) == []


@pytest.mark.parametrize("name", ["a.txt", "deep/b.bin"])
def test_data_that_changes_before_it_is_sent_does_not_appear(
    store: ObjectStore, tree: stage.DataTree, name: str
) -> None:
    """…even if size and times are those that it had."""
    path = tree.root / name
    with path.open("r+b") as file:
        file.write(b"x" * 4)
    now = path.stat()
    times: dict[str, Any] = {"modified_at": now.st_mtime, "changed_at": now.st_ctime}
    items = tuple(each._replace(**times) if each.name == name else each for each in tree.items)
    (lacking,) = stage.data(store, dataclasses.replace(tree, items=items))
    with pytest.raises(Failure, match="changed while it was uploaded"):
        lacking.send(Meter())
    assert not store.exists(tree.prefix + name)
