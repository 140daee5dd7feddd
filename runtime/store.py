"""The store a job lives in: opening one by its URL, and the form it has in a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, unquote_to_bytes, urlsplit

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
from llmcloud.runtime.objects import (
    COPY_CHUNK_BYTES,
    PRIVATE,
    Blob,
    Entry,
    ObjectStore,
    check_key,
    check_prefix,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Blob", "Entry", "FileStore", "ObjectStore", "open_store"]

_NO_PUNYCODE = r"(?!(?:.*\.)?xn--)"  # no cloud's; in the name of a host it would be read as one
# What each cloud lets a new bucket be called, part by part, and how to say that.
NAMES = {
    "s3": (
        (_NO_PUNYCODE + r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",),
        "s3://BUCKET, 3 to 63 of a-z, 0-9, . and -",
    ),
    "gs": (
        (_NO_PUNYCODE + r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]",),
        "gs://BUCKET, 3 to 222 of a-z, 0-9, ., _ and -",
    ),
    "az": (
        (r"[a-z0-9]{3,24}", r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*|\$(?:root|web|logs)"),
        "az://ACCOUNT/CONTAINER, 3 to 24 of a-z and 0-9, and 3 to 63 of these and -",
    ),
}
BUCKETS = tuple(NAMES)
LOCKS = 16
STALE_S = 86_400.0


def open_store(url: str) -> ObjectStore:
    """Return the store at a URL without creating it; InvalidRequest for an unknown scheme.

    A bucket is reached with this machine's own identity.
    """
    if found := bucket_of(url):
        from llmcloud.runtime.ambient import ambient
        from llmcloud.runtime.bucket import BucketStore

        return BucketStore(ambient(*found))
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidRequest(f"{url!r} is not a URL: {error}.") from error
    path = Path(os.fsdecode(unquote_to_bytes(parts.path)))
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or not path.is_absolute():
        raise InvalidRequest(
            f"{url} is not a store that this version can use.",
            fix="Use a file:// URL with an absolute path, file:///path/to/folder.",
        )
    if "\0" in str(path) or parts.query or parts.fragment:
        raise InvalidRequest(f"{url!r} is no store: write `?`, `#` as %3F, %23, and no %00.")
    return FileStore(path)


def bucket_of(url: str) -> tuple[str, str] | None:
    """Return scheme and name of the bucket that a store's URL means; None if it means none."""
    scheme, _, name = url.partition("://")
    if scheme not in NAMES:
        return None
    bucket, prefix = split_bucket(scheme, name)
    if prefix:
        raise InvalidRequest(
            f"{url} is no store: a store is a whole bucket.", fix=f"Use {scheme}://{bucket}."
        )
    return scheme, bucket


def split_bucket(scheme: str, name: str) -> tuple[str, str]:
    """Return bucket and key of what follows the scheme: `bucket/key`, `account/container/key`."""
    if scheme not in NAMES:
        known = ", ".join(f"{each}://" for each in ("file", *NAMES))
        raise InvalidRequest(
            f"{scheme}:// is no store that this version can use.", fix=f"Use one of: {known}."
        )
    patterns, form = NAMES[scheme]
    *parts, key = f"{name}/".split("/", len(patterns))
    if len(parts) < len(patterns) or not all(map(re.fullmatch, patterns, parts)):
        raise InvalidRequest(f"{scheme}://{name} names no bucket.", fix=f"Write {form}.")
    return "/".join(parts), key.removesuffix("/")


class FileStore(ObjectStore):
    """A folder as an object store: a file an object, atomic renames, locks for conditions.

    `.llmcloud/` inside it holds what is no object: a marker (its absence means that the store was
    deleted, so that a late writer does not bring half of it back), locks, and files being written.
    All that it makes is its owner's alone. An object can't lie under another's key (`a`, `a/b`).
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = "file://" + quote(os.fsencode(self.root))
        self._private = self.root / PRIVATE
        self.scratch = self._private / "tmp"  # of what is being written
        self._marker = self._private / "store"

    def create(self) -> None:
        with self._translated("the store itself"):
            try:
                self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            except (FileExistsError, NotADirectoryError) as error:
                raise InvalidRequest(
                    f"No store can be made here: {error.strerror}.",
                    where=self.url,
                    fix="Choose another folder, with LLMCLOUD_HOME or `store:`.",
                ) from error
            for folder in (self._private, self.scratch, self._private / "locks"):
                folder.mkdir(exist_ok=True, mode=0o700)
            for shard in range(LOCKS):  # now, so that deleting works on a full disk
                self._lock(shard).touch(mode=0o600)
            self._marker.touch(mode=0o600)
            self._sweep()

    def is_there(self) -> bool:
        return self._marker.is_file()

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

    def get_file(self, key: str, path: Path) -> str:
        digest = hashlib.sha256()
        with self._translated(key):
            source = self._path(key).open("rb")  # opened once: a rewrite can't mix two versions
        with source, path.open("wb") as out:
            while chunk := source.read(COPY_CHUNK_BYTES):
                out.write(chunk)
                digest.update(chunk)
        return digest.hexdigest()

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        path = self._path(key)
        with self._translated(key), self._temporary() as temporary:
            with temporary.open("wb") as file:
                file.write(data)
                if if_absent or if_match is not None:
                    file.flush()
                    os.fsync(file.fileno())
            with self._locked(key):
                if if_match is not None and _etag_at(path) != if_match:
                    raise Conflict("The object is no longer what was read.", where=key)
                if if_absent and path.is_file():
                    raise Conflict("The object exists already.", where=key)
                self._rename(temporary, path)
        return _etag(data)

    def put_file(self, key: str, path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("rb") as source:
            self.put_stream(key, _hashed(source, digest))
        return digest.hexdigest()

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object piece by piece; a failure of who yields them leaves what was there."""
        target = self._path(key)
        with self._translated(key), self._temporary() as temporary:
            with temporary.open("wb") as file:
                file.writelines(chunks)
            with self._locked(key):
                self._rename(temporary, target)

    def head(self, key: str) -> Entry:
        path = self._path(key)
        with self._translated(key):
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise NotFound("There is no such object.", where=f"{self.url}, {key}")
        return Entry(key, found.st_size, found.st_mtime)

    def objects(self, prefix: str = "", *, start_after: str = "") -> Iterator[Entry]:
        check_prefix(prefix)
        self._check_present()
        folder, slash, _ = prefix.rpartition("/")
        with self._translated(prefix):
            yield from _walk(self.root / folder, folder + slash, prefix, start_after)
        self._check_present()  # or else what is being removed would pass for a short listing

    def folders(self, prefix: str) -> list[str]:
        check_prefix(prefix)
        if prefix and not prefix.endswith("/"):
            raise InvalidRequest(f"{prefix!r} names no folder: it does not end in `/`.")
        self._check_present()
        with self._translated(prefix):
            found = [each for each in _scan(self.root / prefix) if each.name != PRIVATE]
            return sorted(
                each.name
                for each in found
                if each.is_dir(follow_symlinks=False) and _holds_objects(each.path)
            )

    def delete(self, key: str) -> None:
        path = self._path(key)
        self._check_present()
        with self._translated(key):
            with (
                self._locked(key),
                contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError),
            ):
                path.unlink()
            remove_empty(path.parent, self.root)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self.root / key

    def _check_present(self) -> None:
        with self._translated("the store itself"):
            try:
                self._marker.stat()
            except (FileNotFoundError, NotADirectoryError):
                raise StoreGone(
                    "There is no store here (any more).",
                    where=self.url,
                    fix="Mount it again if it was unmounted; else what was only in it is gone.",
                ) from None

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        """Yield a new file that is gone afterwards unless it was renamed away."""
        self._check_present()
        path = self.scratch / uuid.uuid4().hex
        try:
            path.touch(mode=0o600, exist_ok=False)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what writers that were killed have left half written."""
        for each in _scan(self.scratch):
            with contextlib.suppress(FileNotFoundError):
                if each.stat().st_mtime < time.time() - STALE_S:
                    Path(each.path).unlink()

    def _lock(self, shard: int) -> Path:
        return self._private / "locks" / f"{shard:02d}"

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Hold the lock that every write and deletion of this key takes."""
        shard = hashlib.sha256(key.encode()).digest()[0] % LOCKS
        with self._lock(shard).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:  # closing it would not do: a child forked meanwhile has it open too
                fcntl.flock(file, fcntl.LOCK_UN)

    def _rename(self, source: Path, target: Path) -> None:
        try:
            for _ in range(100):  # a deletion may remove the empty folders that we just made
                with contextlib.suppress(FileNotFoundError):
                    source.replace(target)
                    return
                self._check_present()
                with contextlib.suppress(FileNotFoundError):
                    self._make_folders(target.parent)
        except (NotADirectoryError, IsADirectoryError) as error:
            raise InvalidRequest(
                "A folder can't hold an object and others under its name.",
                where=f"{self.url}, {target.relative_to(self.root)}",
            ) from error
        raise Unavailable("The folder of the object vanishes again and again.", where=str(target))

    def _make_folders(self, folder: Path) -> None:
        """Make a folder and its parents, but never the root: a store that is gone stays gone."""
        if folder == self.root:
            return
        self._make_folders(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._translate(error, key) from error

    def _translate(self, error: OSError, key: str) -> Failure:
        where = f"{self.url}, {key}"
        match error.errno:
            case errno.ENOENT | errno.ENOTDIR | errno.EISDIR:
                self._check_present()
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
            case errno.ENAMETOOLONG:
                return InvalidRequest("The path of the object is too long.", where=where)
            case _:
                return Unavailable(f"The store's disk failed: {error.strerror}.", where=where)


def _hashed(source: BinaryIO, digest: hashlib._Hash) -> Iterator[bytes]:
    while chunk := source.read(COPY_CHUNK_BYTES):
        digest.update(chunk)
        yield chunk


def remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those above it below `root`, as far as they are empty."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _etag_at(path: Path) -> str | None:
    try:
        return _etag(path.read_bytes())
    except FileNotFoundError:
        return None


def _walk(folder: Path, at: str, prefix: str, start_after: str) -> Iterator[Entry]:
    """Yield the files under a folder, whose key is `at`, one folder in memory a level.

    A folder sorts as its keys do, with its slash: "a.txt" < "a/b" < "a0".
    """
    children = [(at + e.name + "/" * e.is_dir(follow_symlinks=False), e) for e in _scan(folder)]
    for key, child in sorted(children, key=lambda pair: pair[0]):
        if not key.endswith("/"):
            if key.startswith(prefix) and key > start_after and (entry := _entry(key, child)):
                yield entry
        elif (
            (key.startswith(prefix) or prefix.startswith(key))
            and (key > start_after or start_after.startswith(key))
            and key != PRIVATE + "/"
        ):
            yield from _walk(Path(child.path), key, prefix, start_after)


def _entry(key: str, file: os.DirEntry[str]) -> Entry | None:
    try:
        found = file.stat(follow_symlinks=False)
    except FileNotFoundError:  # deleted since it was listed
        return None
    return Entry(key, found.st_size, found.st_mtime) if stat.S_ISREG(found.st_mode) else None


def _holds_objects(folder: str) -> bool:
    return any(
        each.is_file(follow_symlinks=False)
        or (each.is_dir(follow_symlinks=False) and _holds_objects(each.path))
        for each in _scan(folder)
    )


def _scan(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what a folder holds; nothing when it is gone or none."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []
