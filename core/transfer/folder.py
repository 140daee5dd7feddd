"""Files of this machine as source and target; what is visible is whole."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcloud.core.errors import UsageError
from llmcloud.core.transfer.crc32c import crc32c_of
from llmcloud.core.transfer.errors import Changed
from llmcloud.core.transfer.growing import FileSink, Growing, growing, is_growing, write_small
from llmcloud.core.transfer.sides import Item, Reader, Sink, Source, Target
from llmcloud.core.transfer.space import writing
from llmcloud.runtime.digests import READ_BYTES
from llmcloud.runtime.errors import Failure, InvalidRequest
from llmcloud.runtime.file_names import is_safe
from llmcloud.runtime.objects import PRIVATE, check_key
from llmcloud.runtime.store import remove_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SAME_S = 0.001  # file systems and listings round differently


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

    @property
    def place(self) -> str:
        return _place_of(self.root)

    def items(self) -> Iterator[Item]:
        return self._find()

    def open(self, item: Item) -> Reader:
        return _FileReader(f"{self.root}/{item.name}", item)

    def crc32c(self, item: Item) -> int | None:
        return _file_crc32c(f"{self.root}/{item.name}")

    def hides(self, name: str) -> bool:
        return self._hidden(name) or os.path.lexists(f"{self.root}/{name}")


class FolderTarget(Target):
    """Files below a folder; those that grow lie beside their place, or in `hidden`."""

    whole_bytes = 1 << 20
    at_once = 1  # it has its hands full with making files

    def __init__(self, root: Path, hidden: Path | None = None, url: str = "") -> None:
        self.root = os.fspath(root)
        self.url = url or self.root
        self._hidden = os.fspath(hidden) if hidden else None
        self._folders: set[str] = set()

    @property
    def place(self) -> str:
        return _place_of(self.root)

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
        same_time = abs(item.modified_at - there.modified_at) < SAME_S
        return same_time and item.changed_at <= there.changed_at

    def crc32c(self, there: Item) -> int | None:
        return _file_crc32c(f"{self.root}/{there.name}")

    def write(self, item: Item, data: Any, crc32c: int) -> None:
        del crc32c
        with writing(self.root, item):
            write_small(self._growing(item, self._place(item.name)), data)

    def begin(self, item: Item, whole_crc32c: Callable[[], int]) -> Sink:
        del whole_crc32c
        with writing(self.root, item):
            return FileSink(self._growing(item, self._place(item.name)), self.root)

    def missing_bytes(self, item: Item) -> int:
        """Return how much disk an item still needs."""
        hidden = self._growing(item, f"{self.root}/{item.name}").hidden
        with contextlib.suppress(OSError):
            return max(item.size - 512 * os.stat(hidden).st_blocks, 0)  # noqa: PTH116
        return item.size

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            path = Path(self.root, name)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            remove_empty(path.parent, Path(self.root))

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
            try:
                os.makedirs(f"{self.root}/{folder}", exist_ok=True)  # noqa: PTH103 - the same
            except (FileExistsError, NotADirectoryError) as error:
                raise Failure("A file is in the way of its folder.", where=name) from error
            self._folders.add(folder)
        return f"{self.root}/{name}"

    def _growing(self, item: Item, path: str) -> Growing:
        return growing(item, path, self._hidden)


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


def inside(target: Path, name: str) -> Path:
    """Return the path of `name` in a folder; UsageError when it would leave it."""
    if not is_safe(name):
        raise UsageError(f"The name {name!r} would leave the folder.", where=str(target))
    path = target / name
    for parent in path.parents[: name.count("/")]:
        if parent.is_symlink():
            raise _through_link(name, str(parent))
    return path


def _place_of(root: str) -> str:
    return os.path.realpath(root).rstrip("/") + "/"


def _through_link(name: str, link: str) -> UsageError:
    return UsageError(
        f"{name} would be written through a symlink.",
        where=link,
        fix="Remove the link, or choose another folder.",
    )


def _file_crc32c(path: str) -> int | None:
    """Return a file's digest; None when it can't be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return crc32c_of(iter(functools.partial(file.read, READ_BYTES), b""))
    except OSError:
        return None


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
            if child.name not in {".git", PRIVATE}:
                yield from _names(child.path, f"{at}{child.name}/")
        elif not is_growing(child.name):
            yield at + child.name
