"""The contract of an object store: the smallest that S3, GCS, Azure Blob and a folder share.

It lies here and not in core because the node needs it too, with nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from llmcloud.runtime.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PRIVATE = ".llmcloud"
KEY_MAX_BYTES = 1024
SEGMENT_MAX_BYTES = 255
COPY_CHUNK_BYTES = 1 << 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # which obstore refuses
_PLAIN = re.compile(r"(?:[\w-][\w.-]*/)*[\w-][\w.-]*", re.ASCII)  # most keys, judged fast


class Entry(NamedTuple):
    """One object of a listing; `modified_at` is seconds since the epoch.

    `version` differs from that of any other bytes under this key; a folder knows none.
    """

    key: str
    size: int
    modified_at: float
    version: str = ""


@dataclass(frozen=True)
class Blob:
    """An object's bytes, and the tag that a conditional write must name."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of an object, in buffers that come one by one, and what is known of all of it.

    A buffer may lie in memory that the next one is put into. `size` is that of the whole object,
    in bytes.
    """

    chunks: Iterator[Any]
    size: int
    version: str
    crc32c: int | None = None


class ObjectStore(ABC):
    """Objects by key, in the order of the keys' UTF-8 bytes; `check_key` says what a key may be.

    Every method raises NotFound, Conflict, PermissionDenied, InvalidRequest, StoreFull, StoreGone
    or Unavailable, and nothing else for what the world does. A write is whole or absent: no
    reader ever sees half an object. The writes and deletions of one key have one order, also
    when several processes make them.
    """

    url: str

    @abstractmethod
    def create(self) -> None:
        """Create the store if it is absent."""

    @abstractmethod
    def is_there(self) -> bool:
        """Tell whether the store has been created."""

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
        """Write an object and return its etag; Conflict when the condition does not hold.

        The etag names this write: what was written since has another, unless its bytes are equal.
        A write whose answer the network lost, and that another has replaced since, is a Conflict
        as well: who reads again finds what became of it.
        """

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
        """Return the names one level under `prefix` that hold objects, sorted.

        `prefix` is empty or ends in `/`.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object; one that is absent is deleted already."""

    def piece(self, key: str, start: int, size: int, version: str = "") -> Piece:
        """Return at most `size` bytes from `start`, asked for once; a `size` of 0 asks for all.

        Conflict when the object is not of this version (any more), or ends before `start`.
        """
        del version
        entry = self.head(key)
        data = self.read(key, start, size or entry.size)
        return Piece(iter([data]), entry.size, entry.version)

    def crc32c(self, key: str) -> int | None:
        """Return the digest that is kept with an object, or None."""
        del key
        return None

    def delete_all(self, keys: Iterable[str]) -> None:
        """Delete many objects."""
        for key in keys:
            self.delete(key)

    def exists(self, key: str) -> bool:
        """Tell whether an object is there."""
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def get_file(self, key: str, path: Path) -> str:
        """Write an object's bytes to a file and return their SHA-256; resumes nothing.

        Raises OSError, untranslated, when the file itself can't be written.
        """
        digest = hashlib.sha256()
        with path.open("wb") as out:
            offset = 0
            while chunk := self.read(key, offset, COPY_CHUNK_BYTES * 8):
                out.write(chunk)
                digest.update(chunk)
                offset += len(chunk)
        return digest.hexdigest()


def check_key(key: str) -> None:
    """Raise InvalidRequest for a key that some store could not hold or that leaves its store."""
    if not (len(key) <= SEGMENT_MAX_BYTES and _PLAIN.fullmatch(key)):
        _check_segments(key.split("/"), key)


def check_prefix(prefix: str) -> None:
    """Raise InvalidRequest for a prefix that no key can have."""
    *folders, rest = prefix.split("/")
    _check_segments([*folders, rest or "any"], prefix)


def _check_segments(segments: list[str], key: str) -> None:
    try:
        sizes = [len(segment.encode()) for segment in segments]
    except UnicodeEncodeError:
        raise InvalidRequest(f"{key!r} can't be a key: it is not Unicode.") from None
    if any(segment in {"", ".", ".."} for segment in segments):
        raise InvalidRequest(f"{key!r} can't be a key: it has an empty, `.` or `..` part.")
    if _CONTROL.search(key):
        raise InvalidRequest(f"{key!r} can't be a key: it has a control character.")
    if max(sizes) > SEGMENT_MAX_BYTES or len(key.encode()) > KEY_MAX_BYTES:
        raise InvalidRequest(
            f"{key[:60]!r}… can't be a key: it is longer than {KEY_MAX_BYTES} bytes,"
            f" or than {SEGMENT_MAX_BYTES} between two slashes."
        )
    if segments[0] == PRIVATE:
        raise InvalidRequest(f"{key!r} can't be a key: {PRIVATE}/ is the store's own.")
