"""The stores that the contract suite runs on: one entry here puts a store under all of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.request import url2pathname

from llmcloud.runtime.store import FileStore, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class StoreRig:
    """How to make a new, empty store (in a folder of the test's own), and how to destroy one."""

    make: Callable[[Path], ObjectStore]
    destroy: Callable[[ObjectStore], None]


def _make_file_store(folder: Path) -> ObjectStore:
    store = FileStore(folder / "store")
    store.create()
    return store


def _destroy_file_store(store: ObjectStore) -> None:
    shutil.rmtree(url2pathname(store.url.removeprefix("file://")))


STORES = {"file": StoreRig(_make_file_store, _destroy_file_store)}
