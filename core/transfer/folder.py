"""Files of this machine as source and target.

What is visible is whole: a file grows under a hidden name and is renamed into its place. A large
one grows in any order; a byte behind its end for each part says which are there, so that a later
try, also after `kill -9`, goes on with the rest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcloud.core.errors import UsageError
from llmcloud.core.transfer.crc32c import crc32c
from llmcloud.core.transfer.errors import Changed, Damaged, OutOfSpace
from llmcloud.core.transfer.sides import Item, Reader, Sink, Source, Target
from llmcloud.runtime.bucket_api import part_bytes
from llmcloud.runtime.checkpoints.manifest import is_safe
from llmcloud.runtime.errors import Failure, InvalidRequest
from llmcloud.runtime.objects import check_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MARGIN_BYTES = 1 << 20
SAME_S = 0.001  # file systems and listings round differently
READ_BYTES = 1 << 20
GROWING = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.DOTALL)


class FolderSource(Source):
    """Files below a folder; `find` yields them in the order of their names.

    `hidden` tells of a name whether `find` would leave it out.
    """

    def __init__(
        self,
        root: Path,
        find: Callable[[], Iterator[Item]],
        hidden: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.root = os.fspath(root)
        self.url = self.root
        self._find, self._hidden = find, hidden

    def items(self) -> Iterator[Item]:
        return self._find()

    def open(self, item: Item) -> Reader:
        return _FileReader(f"{self.root}/{item.name}", item)

    def crc32c(self, item: Item) -> int | None:
        return crc32c_of(f"{self.root}/{item.name}")

    def hides(self, name: str) -> bool:
        return self._hidden(name) or os.path.lexists(f"{self.root}/{name}")


class FolderTarget(Target):
    """Files below a folder; those that grow lie beside their place, or in `growing`."""

    whole_bytes = 1 << 20

    def __init__(self, root: Path, growing: Path | None = None, url: str = "") -> None:
        self.root = os.fspath(root)
        self.url = url or self.root
        self._growing = growing
        self._folders: set[str] = set()

    def refuse(self, item: Item) -> str:
        try:
            check_key(item.name)
        except InvalidRequest:
            return "its name would leave the folder, or can't be one here"
        return ""

    def beside(
        self, items: Iterator[Item], *, extras: bool
    ) -> Iterator[tuple[Item | None, Item | None]]:
        seen: set[str] = set()
        for item in items:
            if extras:
                seen.add(item.name)
            yield item, (None if item.problem or self.refuse(item) else self._find(item.name))
        if extras:
            for name in _names(self.root, ""):
                if name not in seen:
                    yield None, Item(name, 0, 0.0)

    def is_same(self, item: Item, there: Item) -> bool:
        return (
            item.size == there.size
            and abs(item.modified_at - there.modified_at) < SAME_S
            and item.changed_at <= there.changed_at
        )

    def crc32c(self, there: Item) -> int | None:
        return crc32c_of(f"{self.root}/{there.name}")

    def write(self, item: Item, data: Any, crc32c: int) -> None:
        del crc32c
        if item.sha256 and hashlib.sha256(data).hexdigest() != item.sha256:
            raise _damaged(item)
        path = self._place(item.name)
        grown = self._grown(path, item)
        with self._translated(item), _locked(grown) as descriptor:
            os.ftruncate(descriptor, 0)
            _write_whole(descriptor, data, 0)
            _appear(descriptor, grown, path, item)

    def begin(self, item: Item, whole_crc32c: Callable[[], int]) -> Sink:
        del whole_crc32c
        path = self._place(item.name)
        with self._translated(item):
            return _FileSink(self, item, path, self._grown(path, item))

    def missing_bytes(self, item: Item) -> int:
        """Return how much disk an item still needs."""
        path = f"{self.root}/{item.name}"
        with contextlib.suppress(OSError):
            return max(item.size - 512 * os.stat(self._grown(path, item)).st_blocks, 0)  # noqa: PTH116
        return item.size

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            path = Path(self.root, name)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            for parent in path.parents:
                if os.fspath(parent) == self.root:
                    break
                try:
                    parent.rmdir()
                except OSError:
                    break

    def _find(self, name: str) -> Item | None:
        try:
            found = os.lstat(f"{self.root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return Item(name, found.st_size, found.st_mtime, found.st_ctime)

    def _place(self, name: str) -> str:
        """Return the path of a name, its folder made; a link on the way is never followed."""
        folder, _, _ = name.rpartition("/")
        if folder not in self._folders:
            path = self.root
            for part in folder.split("/") if folder else ():
                path = f"{path}/{part}"
                if os.path.islink(path):  # noqa: PTH114 - this runs once a file
                    raise _through_link(name, path)
            os.makedirs(f"{self.root}/{folder}", exist_ok=True)  # noqa: PTH103 - the same
            self._folders.add(folder)
        return f"{self.root}/{name}"

    def _grown(self, path: str, item: Item) -> str:
        """Return where a file grows: each version of an object elsewhere."""
        text = f"{item.sha256 or item.version or item.modified_at} {item.size} {path}"
        mark = hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
        if self._growing:
            return f"{self._growing}/{mark}.part"
        folder, _, name = path.rpartition("/")
        return f"{folder}/.{name[:32]}.{mark}.part"  # 255 bytes at most, also of emoji

    @contextlib.contextmanager
    def _translated(self, item: Item) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise no_space(self.root, f"{item.name} has {item.size:,} bytes") from error
            raise


class _FileReader(Reader):
    """An open file; the one that an item's SHA-256 was taken of, or Changed."""

    def __init__(self, path: str, item: Item) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._before = _version(self._descriptor)
        if item.sha256:
            now = os.fstat(self._descriptor)
            then = item.size, item.modified_at, item.changed_at
            if (now.st_size, now.st_mtime, now.st_ctime) != then:
                self.close()
                raise Changed("It changed since its digest was taken.")

    def chunks(self, start: int, size: int) -> Iterator[Any]:
        data = os.pread(self._descriptor, size, start)
        if len(data) < size:
            raise Changed("It changed while it was read.")
        yield data

    def check(self) -> None:
        if _version(self._descriptor) != self._before:
            raise Changed("It changed while it was read.")

    def close(self) -> None:
        os.close(self._descriptor)


class _FileSink(Sink):
    def __init__(self, target: FolderTarget, item: Item, path: str, grown: str) -> None:
        self._target, self._item, self._path, self._grown = target, item, path, grown
        self._part_bytes = part_bytes(item.size)
        self._open = contextlib.ExitStack()
        self._descriptor = self._open.enter_context(_locked(grown))
        length = item.size + -(-item.size // self._part_bytes)
        found = os.fstat(self._descriptor)
        if found.st_size != length:
            os.ftruncate(self._descriptor, 0)
            check_space(target.root, item.size)
            os.ftruncate(self._descriptor, length)

    def held(self, number: int, size: int, read: Callable[[], Any]) -> int | None:
        del read
        if os.pread(self._descriptor, 1, self._item.size + number - 1) != b"\1":
            return None
        return crc32c(os.pread(self._descriptor, size, (number - 1) * self._part_bytes))

    def put(self, number: int, chunks: Iterator[Any]) -> int:
        digest, offset = 0, (number - 1) * self._part_bytes
        with self._target._translated(self._item):  # noqa: SLF001 - the same module
            for data in chunks:
                digest = crc32c(data, digest)
                _write_whole(self._descriptor, data, offset)
                offset += len(data)
            os.pwrite(self._descriptor, b"\1", self._item.size + number - 1)
        return digest

    def complete(self, crc32c: int) -> None:
        del crc32c
        os.ftruncate(self._descriptor, self._item.size)
        if self._item.sha256 and _sha256(self._descriptor) != self._item.sha256:
            self.abort()
            raise _damaged(self._item)
        with self._target._translated(self._item):  # noqa: SLF001
            _appear(self._descriptor, self._grown, self._path, self._item)

    def close(self) -> None:
        self._open.close()

    def abort(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._grown)  # noqa: PTH108
        self.close()


def crc32c_of(path: str) -> int | None:
    """Return a file's digest; None when it can't be read."""
    digest = 0
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            while chunk := file.read(READ_BYTES):
                digest = crc32c(chunk, digest)
    except OSError:
        return None
    return digest


def inside(target: Path, name: str) -> Path:
    """Return the path of `name` in a folder; UsageError when it would leave it."""
    if not is_safe(name):
        raise UsageError(f"The name {name!r} would leave the folder.", where=str(target))
    path = target / name
    for parent in path.parents[: name.count("/")]:
        if parent.is_symlink():
            raise _through_link(name, str(parent))
    return path


def check_space(folder: str | Path, needed_bytes: int) -> None:
    """Raise OutOfSpace before a download that can't fit is begun."""
    path = Path(folder)
    there = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if needed_bytes + MARGIN_BYTES > free:
        raise no_space(folder, f"{needed_bytes:,} bytes are needed, {free:,} are free")


def no_space(folder: str | Path, detail: str) -> OutOfSpace:
    """Return what to raise for a full disk."""
    return OutOfSpace(
        f"There is not enough space on the disk: {detail}.",
        where=str(folder),
        fix="Free some space and run it again (what is here is kept), or choose another folder.",
    )


def _through_link(name: str, link: str) -> UsageError:
    return UsageError(
        f"{name} would be written through a symlink.",
        where=link,
        fix="Remove the link, or choose another folder.",
    )


def _damaged(item: Item) -> Damaged:
    return Damaged(
        f"What was fetched of {item.name} is not what was saved.",
        where=item.name,
        fix="Use another checkpoint or copy: the object is damaged in the store.",
    )


def _appear(descriptor: int, grown: str, path: str, item: Item) -> None:
    if item.modified_at:
        time_ns = int(item.modified_at * 1e9)
        os.utime(descriptor, ns=(time_ns, time_ns))
    try:
        os.replace(grown, path)  # noqa: PTH105
    except IsADirectoryError as error:
        os.unlink(grown)  # noqa: PTH108
        raise Failure("A folder of this name is in the way.", where=path) from error


@contextlib.contextmanager
def _locked(path: str) -> Iterator[int]:
    """Open a growing file for this process alone; one that was renamed meanwhile is another's."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError("Another command is downloading this.", where=path) from None
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


def _sha256(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns


def _names(folder: str, at: str) -> Iterator[str]:
    """Yield the names of all files and links below a folder, but of what grows and of stores."""
    try:
        with os.scandir(folder) as found:
            children = list(found)
    except (FileNotFoundError, NotADirectoryError):
        return
    for child in children:
        if child.is_dir(follow_symlinks=False):
            if child.name not in {".git", ".llmcloud"}:
                yield from _names(child.path, f"{at}{child.name}/")
        elif not GROWING.fullmatch(child.name):
            yield at + child.name
