"""The object store a job lives in, and its `file://` form.

The contract is the smallest that S3, GCS, Azure Blob and a folder share. It lies here and not
in core because the node needs it too, with nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from llmcloud.runtime.errors import (
    Conflict,
    Failure,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    StoreFull,
    StoreGone,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

COPY_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One object of a listing; `modified_at` is seconds since the epoch."""

    key: str
    size: int
    modified_at: float


@dataclass(frozen=True)
class Blob:
    """An object's bytes, and the tag that a conditional write must name."""

    data: bytes
    etag: str


class ObjectStore(ABC):
    """Objects by key. Keys are `/`-separated, relative, without `.` or `..` segments.

    Every method raises NotFound, Conflict, PermissionDenied, InvalidRequest, StoreFull, StoreGone
    or Unavailable, and nothing else for what the world does. A write is whole or absent: no
    reader ever sees half an object.
    """

    url: str

    @abstractmethod
    def create(self) -> None:
        """Create the store if it is absent."""

    @abstractmethod
    def get(self, key: str) -> Blob:
        """Return a whole object; for small ones."""

    @abstractmethod
    def read(self, key: str, start: int, size: int) -> bytes:
        """Return at most `size` bytes from offset `start`; empty at or past the end."""

    @abstractmethod
    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """Write an object and return its etag; Conflict when the condition does not hold."""

    @abstractmethod
    def put_file(self, key: str, path: Path) -> str:
        """Write an object from a file and return the SHA-256 of the bytes sent.

        Raises OSError, untranslated, when the file itself can't be opened.
        """

    @abstractmethod
    def head(self, key: str) -> Entry:
        """Return an object's size and time."""

    @abstractmethod
    def objects(self, prefix: str = "", *, start_after: str = "") -> Iterator[Entry]:
        """Yield the objects under a prefix in the order of their keys."""

    @abstractmethod
    def folders(self, prefix: str) -> list[str]:
        """Return the names one level under `prefix` (which ends in `/`) that hold objects."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object; one that is absent is deleted already."""

    def exists(self, key: str) -> bool:
        """Tell whether an object is there."""
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def get_file(self, key: str, path: Path) -> str:
        """Write an object's bytes to a file and return their SHA-256; resumes nothing."""
        digest = hashlib.sha256()
        with path.open("wb") as out:
            offset = 0
            while chunk := self.read(key, offset, COPY_CHUNK_BYTES * 8):
                out.write(chunk)
                digest.update(chunk)
                offset += len(chunk)
        return digest.hexdigest()


class FileStore(ObjectStore):
    """A folder as an object store: a file an object, atomic renames, locks for conditions.

    `.llmcloud/` inside it holds what is no object: a marker (its absence means that the store was
    deleted, so that a late writer does not bring half of it back), locks, and files being written.
    """

    PRIVATE = ".llmcloud"

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = "file://" + quote(str(self.root))
        self._marker = self.root / self.PRIVATE / "store"

    def create(self) -> None:
        with self._translated(str(self.root)):
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in ("", "tmp", "locks"):
                (self.root / self.PRIVATE / folder).mkdir(exist_ok=True)
            with contextlib.suppress(FileExistsError), self._marker.open("x") as marker:
                marker.write("llmcloud store, format 1\n")

    def get(self, key: str) -> Blob:
        path = self._path(key)
        with self._translated(key):
            data = path.read_bytes()
        return Blob(data, _etag(data))

    def read(self, key: str, start: int, size: int) -> bytes:
        path = self._path(key)
        with self._translated(key), path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        path = self._path(key)
        conditional = if_absent or if_match is not None
        with self._translated(key), self._temporary() as temporary:
            with temporary.open("wb") as file:
                file.write(data)
                if conditional:
                    file.flush()
                    os.fsync(file.fileno())
            with self._locked(key) if conditional else contextlib.nullcontext():
                if if_match is not None and _etag(path.read_bytes()) != if_match:
                    raise Conflict("The object is no longer what was read.", where=key)
                if if_absent and path.exists():
                    raise Conflict("The object exists already.", where=key)
                self._rename(temporary, path)
        return _etag(data)

    def put_file(self, key: str, path: Path) -> str:
        target = self._path(key)
        digest = hashlib.sha256()
        with path.open("rb") as source, self._translated(key), self._temporary() as temporary:
            with temporary.open("wb") as file:
                while chunk := source.read(COPY_CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
            self._rename(temporary, target)
        return digest.hexdigest()

    def head(self, key: str) -> Entry:
        path = self._path(key)
        with self._translated(key):
            found = path.stat()
            if not path.is_file():
                raise NotFound("There is no such object.", where=key)
        return Entry(key, found.st_size, found.st_mtime)

    def objects(self, prefix: str = "", *, start_after: str = "") -> Iterator[Entry]:
        self._check_present()
        folder, _, _ = prefix.rpartition("/")
        with self._translated(prefix):
            for entry in _walk(self.root / folder, folder + "/" if folder else ""):
                if entry.key.startswith(prefix) and entry.key > start_after:
                    yield entry

    def folders(self, prefix: str) -> list[str]:
        self._check_present()
        try:
            with os.scandir(self.root / prefix) as found:
                return sorted(e.name for e in found if e.is_dir() and e.name != self.PRIVATE)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._translated(key):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            for parent in path.parents:
                if parent == self.root:
                    break
                try:
                    parent.rmdir()
                except OSError:
                    break

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in {"", ".", ".."} for part in parts) or "\0" in key:
            raise InvalidRequest(f"{key!r} can't be the name of an object.", where=self.url)
        if parts[0] == self.PRIVATE:
            raise InvalidRequest(f"{self.PRIVATE}/ is the store's own.", where=self.url)
        return self.root.joinpath(*parts)

    def _check_present(self) -> None:
        if not self._marker.exists():
            raise StoreGone(
                "There is no store here (any more).",
                where=self.url,
                fix="Mount it again if it was unmounted; what was only in it is gone otherwise.",
            )

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        """Yield a path whose file is gone afterwards unless it was renamed away."""
        self._check_present()
        path = self.root / self.PRIVATE / "tmp" / uuid.uuid4().hex
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Hold the lock that every conditional write of this key takes."""
        shard = hashlib.sha256(key.encode()).hexdigest()[:2]
        with (self.root / self.PRIVATE / "locks" / shard).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _rename(self, source: Path, target: Path) -> None:
        for _ in range(16):  # a delete may remove the empty folder that we just made
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                source.replace(target)
                return
        raise Unavailable("The folder of the object vanishes again and again.", where=str(target))

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except Failure:
            raise
        except OSError as error:
            raise self._translate(error, key) from error

    def _translate(self, error: OSError, key: str) -> Failure:
        where = f"{self.url}, {key}"
        match error.errno:
            case errno.ENOENT | errno.ENOTDIR:
                if not self._marker.exists() and key != str(self.root):
                    return StoreGone("There is no store here (any more).", where=self.url)
                return NotFound("There is no such object.", where=where)
            case errno.ENOSPC | errno.EDQUOT:
                return StoreFull(
                    "No space is left in the store.",
                    where=where,
                    fix="Free some space there, `llmcloud gc` lists what can go, or set `store:`.",
                )
            case errno.EACCES | errno.EPERM | errno.EROFS:
                return PermissionDenied(
                    f"The store can't be used: {error.strerror}.",
                    where=where,
                    fix="Make the folder yours, or choose another with LLMCLOUD_HOME.",
                )
            case errno.EISDIR | errno.EEXIST | errno.ENAMETOOLONG:
                return InvalidRequest(
                    f"A folder can't hold an object of this name: {error.strerror}.", where=where
                )
            case _:
                return Unavailable(f"The store's disk failed: {error.strerror}.", where=where)


def open_store(url: str) -> ObjectStore:
    """Return the store at a URL without creating it; InvalidRequest for an unknown scheme."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        raise InvalidRequest(
            f"{url} is not a store that this version can use.", fix="Use a file:// URL."
        )
    return FileStore(Path(unquote(parts.path)))


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _walk(folder: Path, prefix: str) -> Iterator[Entry]:
    """Yield the files under a folder in the order of their keys, one folder in memory a level."""
    try:
        with os.scandir(folder) as found:
            # A folder sorts as its keys do, with its slash: "a.txt" < "a/b" < "a0".
            children = sorted((e.name + "/" * e.is_dir(), e) for e in found)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, child in children:
        if name == FileStore.PRIVATE + "/" and not prefix:
            continue
        if name.endswith("/"):
            yield from _walk(Path(child.path), prefix + name)
            continue
        with contextlib.suppress(FileNotFoundError):
            stat = child.stat()
            yield Entry(prefix + name, stat.st_size, stat.st_mtime)
