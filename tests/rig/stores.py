"""The stores that the contract suites run on: one entry here puts a store under all of them.

A cloud of tests/rig/buckets.py is one, too.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

from hypothesis import given, settings
from tests.rig.buckets import BUCKETS, BucketsRig

from llmcloud.core import registry
from llmcloud.core.stores import open_store
from llmcloud.runtime.bucket import BucketStore
from llmcloud.runtime.store import FileStore, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class StoreRig:
    """How to make a new, empty store (in a folder of the test's own), and how to destroy one.

    `emulator` has to run for it. `share` is how much of the work of a test that repeats itself is
    worth its time. `gaps` says what the emulator does otherwise than the cloud, by the test's name.
    """

    make: Callable[[Path], ObjectStore]
    destroy: Callable[[ObjectStore], None]
    emulator: str = ""
    share: float = 1.0
    gaps: Mapping[str, str] = field(default_factory=dict)
    _shelf: list[ObjectStore] = field(default_factory=list)

    def times(self, number: int) -> int:
        """Return how often to do what is done so often in a store that is fast."""
        return max(round(number * self.share), 2)

    def prove(self, number: int, check: Callable[..., None], **examples: Any) -> None:
        """Check so many examples, drawn from strategies by the names of their parameters."""
        given_so_many = settings(max_examples=self.times(number))
        given_so_many(given(**examples)(check))()

    @contextlib.contextmanager
    def empty_store(self, folder: Path) -> Iterator[ObjectStore]:
        """Yield a store with nothing in it; a bucket is used again, as making one takes long."""
        store = self._shelf.pop() if self._shelf else self.make(folder)
        yield store
        if isinstance(store, BucketStore) and store.is_there() and _is_clear(store):
            self._shelf.append(store)


def _is_clear(store: BucketStore) -> bool:
    """Empty a bucket, and tell whether it is; Azure has no way to abort an upload."""
    store.delete_all([entry.key for entry in store.objects()])
    for upload in list(store.api.unfinished("")):
        upload.abort()
    return not any(store.api.unfinished(""))


def _make_file_store(folder: Path) -> ObjectStore:
    store = FileStore(folder / "store")
    store.create()
    return store


def _destroy_file_store(store: ObjectStore) -> None:
    shutil.rmtree(url2pathname(store.url.removeprefix("file://")))


def _in_a_bucket(rig: BucketsRig) -> StoreRig:
    def make(_: Path) -> ObjectStore:
        store = open_store(f"{rig.scheme}://{rig.name(f'llmcloud-{uuid.uuid4().hex[:12]}')}")
        store.create()
        return store

    def destroy(store: ObjectStore) -> None:
        buckets, name = registry.buckets(rig.scheme), store.url.partition("://")[2]
        buckets.empty(name)
        buckets.delete(name)

    return StoreRig(make, destroy, rig.emulator, 0.1, rig.gaps)


STORES = {
    "file": StoreRig(_make_file_store, _destroy_file_store),
    **{name: _in_a_bucket(rig) for name, rig in BUCKETS.items() if rig.has_objects},
}
