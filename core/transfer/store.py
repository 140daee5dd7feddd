"""What lies under a prefix of a store, as source and target."""

from __future__ import annotations

import functools
import hashlib
import itertools
from typing import TYPE_CHECKING, Any, cast

from llmcloud.core.transfer.crc32c import crc32c
from llmcloud.core.transfer.errors import Changed, Damaged
from llmcloud.core.transfer.pool import Pool
from llmcloud.core.transfer.retry import tried
from llmcloud.core.transfer.sides import Item, Reader, Sink, Source, Target, whole
from llmcloud.runtime.bucket_api import PART_BYTES, part_bytes, part_count
from llmcloud.runtime.errors import Conflict, Failure, InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llmcloud.runtime.bucket import BucketStore
    from llmcloud.runtime.bucket_api import Part, PartUpload
    from llmcloud.runtime.objects import ObjectStore


AT_ONCE = 8  # markers that are deleted at the same time


class StoreSource(Source):
    """Objects under a prefix (empty, or ending in `/`), by the rest of their keys.

    `keys` has the keys of items that are named otherwise than their objects.
    """

    def __init__(
        self, store: ObjectStore, prefix: str, keys: Mapping[str, str] | None = None
    ) -> None:
        self.store, self.prefix = store, prefix
        self.url = f"{store.url}/{prefix}"
        self._keys = keys or {}

    @property
    def place(self) -> str:
        return self.url

    def items(self) -> Iterator[Item]:
        return _items(self.store, self.prefix)

    def open(self, item: Item) -> Reader:
        return _ObjectReader(self.store, self._key(item), item)

    def crc32c(self, item: Item) -> int | None:
        return self.store.crc32c(self._key(item))

    def remove(self, names: Sequence[str]) -> None:
        """Remove items, and the markers of folders in it."""
        bucket = cast("BucketStore", self.store)
        _remove(bucket, self.prefix, names, lambda name: not self.hides(name))

    def _key(self, item: Item) -> str:
        return self._keys.get(item.name) or self.prefix + item.name


class StoreTarget(Target):
    """Objects under a prefix of a bucket."""

    whole_bytes = PART_BYTES
    at_once = 4  # obstore waits without the interpreter's lock

    def __init__(self, store: BucketStore, prefix: str) -> None:
        self.store, self.prefix = store, prefix
        self.url = f"{store.url}/{prefix}"

    @property
    def place(self) -> str:
        return self.url

    def refuse(self, item: Item) -> str:
        try:
            self.store.check(self.prefix + item.name)
        except InvalidRequest as failure:
            return failure.what
        return ""

    def beside(
        self, items: Iterator[Item], *, extras: bool
    ) -> Iterator[tuple[Item | None, Item | None]]:
        first, second = next(items, None), next(items, None)
        if first and not second and not extras:  # one file may go where a million lie
            yield first, self._find(first)
            return
        both = (each for each in (first, second) if each)
        there = _items(self.store, self.prefix)
        yield from _joined(itertools.chain(both, items), there, extras=extras)

    def is_same(self, item: Item, there: Item) -> bool | None:
        changed_at = max(item.modified_at, item.changed_at)
        if item.version and changed_at == there.modified_at:
            return None  # an object's time may be cut to its second, in which much can happen
        return changed_at <= there.modified_at

    def crc32c(self, there: Item) -> int | None:
        return self.store.crc32c(self.prefix + there.name)

    def write(self, item: Item, data: Any, crc32c: int) -> None:
        self.store.write(self.prefix + item.name, data, crc32c)

    def begin(self, item: Item, whole_crc32c: Callable[[], int]) -> Sink:
        key = self.prefix + item.name
        upload = self._left_behind(key)
        if upload is None:
            upload = self.store.api.begin(key, item.size, whole_crc32c)
            return _UploadSink(upload, {}, item.size)
        return _UploadSink(upload, upload.parts(), item.size)

    def remove(self, names: Sequence[str]) -> None:
        _remove(self.store, self.prefix, names, set(names).__contains__)

    def _find(self, item: Item) -> Item | None:
        try:
            found = self.store.head(self.prefix + item.name)
        except (NotFound, InvalidRequest):
            return None
        return Item(item.name, found.size, found.modified_at, 0.0, found.version)

    def _left_behind(self, key: str) -> PartUpload | None:
        """Return the newest upload of this key that was cut off; older ones are aborted."""
        found = sorted(self.store.api.unfinished_of(key), key=lambda each: each.started_at)
        for old in found[:-1]:
            old.abort()
        return found[-1] if found else None


class _ObjectReader(Reader):
    def __init__(self, store: ObjectStore, key: str, item: Item) -> None:
        self._store, self._key, self._item = store, key, item

    def chunks(self, start: int, size: int) -> Iterator[Any]:
        whole = start == 0 and size == self._item.size
        try:
            piece = self._store.piece(self._key, start, 0 if whole else size, self._item.version)
            if piece.crc32c is not None:
                self.crc32c = piece.crc32c
            if piece.size != self._item.size:
                raise Changed("It changed while it was read.", where=self._key)
            for data in piece.chunks:
                size -= len(data)
                yield data
        except Conflict as failure:
            self._store.head(self._key)  # Azurite takes what is not there for another version
            raise Changed("It changed while it was read.", where=self._key) from failure
        if size:
            raise Changed("It changed while it was read.", where=self._key)

    def check(self) -> None:
        """Each range was asked for by version; where there is none, the time tells."""
        item = self._item
        if item.modified_at and not item.version:
            found = self._store.head(self._key)
            if (found.size, found.modified_at) != (item.size, item.modified_at):
                raise Changed("It changed while it was read.", where=self._key)

    def close(self) -> None:
        """There is no connection of its own."""


class _UploadSink(Sink):
    def __init__(self, upload: PartUpload, parts: dict[int, Part], size: int) -> None:
        self._upload, self._parts = upload, parts
        self._size, self._part_bytes = size, part_bytes(size)

    def held(self, number: int, size: int, read: Callable[[], Any]) -> int | None:
        part = self._parts.get(number)
        if part is None or part.size != size:
            return None
        data = read()
        digest = crc32c(data)
        if part.crc32c is not None:
            return digest if part.crc32c == digest else None
        if part.md5 is not None:
            same = hashlib.md5(data, usedforsecurity=False).hexdigest() == part.md5
            return digest if same else None
        return None

    def put(self, number: int, chunks: Iterator[Any]) -> int:
        start = (number - 1) * self._part_bytes
        data = whole(chunks, min(self._part_bytes, self._size - start))
        digest = crc32c(data)
        try:
            self._upload.put(number, data, digest)
        except NotFound as failure:
            raise Failure(
                "Another command sent it, or ended its upload.",
                where=failure.where,
                fix="Run the command again: it is compared with what is there now.",
            ) from failure
        return digest

    def complete(self, crc32c: int) -> None:
        try:
            self._upload.complete(part_count(self._size), crc32c)
        except Conflict as failure:
            raise Damaged(failure.what, where=failure.where, fix=failure.fix) from failure

    def close(self) -> None:
        """An upload stays open at the service."""

    def abort(self) -> None:
        self._upload.abort()


def _items(store: ObjectStore, prefix: str) -> Iterator[Item]:
    begin, before = len(prefix), ""
    for key, size, modified_at, version in store.objects(prefix):
        name = key[begin:]
        if not size and (not name or name < before):
            continue  # a console's `folder/`, which obstore calls `folder`
        if name < before:  # who walks two listings side by side would take what is there as absent
            raise Unavailable("The store lists its objects in no order.", where=store.url)
        before = name
        yield Item(name, size, modified_at, 0.0, version)


def _remove(
    store: BucketStore, prefix: str, names: Sequence[str], is_chosen: Callable[[str], bool]
) -> None:
    """Remove objects, and of the chosen what is still listed then: consoles' `folder/`."""
    store.delete_all([prefix + name for name in names])
    pool = Pool(AT_ONCE)
    own = [prefix.rstrip("/")] if prefix and is_chosen("") else []  # which not all list
    with pool.running():
        for folder in itertools.chain(own, _markers(store, prefix, is_chosen)):
            delete = functools.partial(store.api.delete_marker, folder)
            pool.add(functools.partial(tried, pool, delete))


def _markers(store: BucketStore, prefix: str, is_chosen: Callable[[str], bool]) -> Iterator[str]:
    """Yield the empty objects below a prefix."""
    for entry in store.objects(prefix):
        name = entry.key[len(prefix) :]
        if name and not entry.size and is_chosen(name):
            yield entry.key


def _joined(
    items: Iterator[Item], there: Iterator[Item], *, extras: bool
) -> Iterator[tuple[Item | None, Item | None]]:
    """Walk two ordered listings side by side, one item of each in memory."""
    other = next(there, None)
    for item in items:
        while other is not None and other.name < item.name:
            if extras:
                yield None, other
            other = next(there, None)
        if other is not None and other.name == item.name:
            yield item, other
            other = next(there, None)
        else:
            yield item, None
    while extras and other is not None:
        yield None, other
        other = next(there, None)
