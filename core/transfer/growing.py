"""Files that grow under a hidden name, and are renamed into their place when they are whole.

A large one grows in any order; a byte behind its end for each part says which are there, so that a
later try, also after `kill -9`, goes on with the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from llmcloud.core.errors import UsageError
from llmcloud.core.transfer.crc32c import crc32c
from llmcloud.core.transfer.errors import Damaged
from llmcloud.core.transfer.sides import Sink
from llmcloud.core.transfer.space import check_space, writing
from llmcloud.runtime.bucket_api import part_bytes, part_count
from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.core.transfer.sides import Item

_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.DOTALL)


class Growing(NamedTuple):
    """An item that is written: into `hidden` first, which becomes `path`."""

    item: Item
    path: str
    hidden: str


def growing(item: Item, path: str, folder: str | None) -> Growing:
    """Return where a file grows, each version of an item elsewhere: in `folder`, or beside it."""
    text = f"{item.sha256 or item.version or item.modified_at} {item.size} {path}"
    mark = hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
    if folder:
        return Growing(item, path, f"{folder}/{mark}.part")
    parent, _, name = path.rpartition("/")
    return Growing(item, path, f"{parent}/.{name[:32]}.{mark}.part")  # 255 bytes, also of emoji


def is_growing(name: str) -> bool:
    """Tell whether a file of this name grows beside its place."""
    return _NAME.fullmatch(name) is not None


def write_small(file: Growing, data: Any) -> None:
    """Write a file in one piece; Damaged unless its bytes have the item's SHA-256."""
    if file.item.sha256 and hashlib.sha256(data).hexdigest() != file.item.sha256:
        raise _damaged(file.item)
    with _locked(file.hidden) as descriptor:
        os.ftruncate(descriptor, 0)
        _write_whole(descriptor, data, 0)
        _appear(descriptor, file)


class FileSink(Sink):
    """A large file that grows; `root` is for people."""

    is_streamed = True

    def __init__(self, file: Growing, root: str) -> None:
        self._file, self._root = file, root
        self._size = file.item.size
        self._part_bytes = part_bytes(self._size)
        self._open = contextlib.ExitStack()
        self._descriptor = self._open.enter_context(_locked(file.hidden))
        length = self._size + part_count(self._size)
        if os.fstat(self._descriptor).st_size != length:
            os.ftruncate(self._descriptor, 0)
            check_space(root, self._size)
            os.ftruncate(self._descriptor, length)

    def held(self, number: int, size: int, read: Callable[[], Any]) -> int | None:
        del read
        if os.pread(self._descriptor, 1, self._size + number - 1) != b"\1":
            return None
        return crc32c(os.pread(self._descriptor, size, (number - 1) * self._part_bytes))

    def put(self, number: int, chunks: Iterator[Any]) -> int:
        digest, offset = 0, (number - 1) * self._part_bytes
        with writing(self._root, self._file.item):
            for data in chunks:
                digest = crc32c(data, digest)
                _write_whole(self._descriptor, data, offset)
                offset += len(data)
            os.pwrite(self._descriptor, b"\1", self._size + number - 1)
        return digest

    def complete(self, crc32c: int) -> None:
        del crc32c  # the engine has compared it with the source's
        item = self._file.item
        os.ftruncate(self._descriptor, self._size)
        if item.sha256 and _sha256(self._descriptor) != item.sha256:
            self.abort()
            raise _damaged(item)
        with writing(self._root, item):
            _appear(self._descriptor, self._file)

    def close(self) -> None:
        self._open.close()

    def abort(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._file.hidden)  # noqa: PTH108
        self.close()


@contextlib.contextmanager
def _locked(path: str) -> Iterator[int]:
    """Open a growing file for this process alone; one that was renamed meanwhile is another's."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(
                "Another command is writing this.", where=path, fix="Wait for its end."
            ) from None
        if _is_still(descriptor, path):
            break
        os.close(descriptor)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_still(descriptor: int, path: str) -> bool:
    """Tell whether an open file has its name yet, and is not what another made visible."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_whole(descriptor: int, data: Any, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _appear(descriptor: int, file: Growing) -> None:
    if file.item.modified_at:
        time_ns = int(file.item.modified_at * 1e9)
        os.utime(descriptor, ns=(time_ns, time_ns))
    try:
        os.replace(file.hidden, file.path)  # noqa: PTH105
    except IsADirectoryError as error:
        os.unlink(file.hidden)  # noqa: PTH108
        raise Failure(
            "A folder of this name is in the way.",
            where=file.path,
            fix="Move it away, or choose another folder.",
        ) from error


def _sha256(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(item: Item) -> Damaged:
    return Damaged(
        f"What was fetched of {item.name} is not what was saved.",
        where=item.name,
        fix="Use another checkpoint or copy: the object is damaged in the store.",
    )
