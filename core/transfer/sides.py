"""What a transfer goes between: a source that can be read in ranges, a target that takes parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Item(NamedTuple):
    """One file or object by its name below the side's root; times are seconds since the epoch.

    `changed_at` is when a file's inode last changed, which no program can set back; 0 for objects.
    `problem` says why the item can't travel.
    """

    name: str
    size: int
    modified_at: float
    changed_at: float = 0.0
    version: str = ""
    problem: str = ""
    sha256: str = ""


class Reader(ABC):
    """An open item."""

    crc32c: int | None = None  # what is kept with the item, known once something was read

    @abstractmethod
    def chunks(self, start: int, size: int) -> Iterator[Any]:
        """Yield `size` bytes from `start` in buffers, each of which may be used for the next.

        Changed when the item is another by now.
        """

    def read(self, start: int, size: int) -> Any:
        """Return `size` bytes from `start` as one buffer."""
        return whole(self.chunks(start, size), size)

    @abstractmethod
    def check(self) -> None:
        """Raise Changed unless what was read is one version of the item."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""


class Sink(ABC):
    """A large item being put together from parts of `part_bytes`, numbered from 1.

    It appears under its name when it is complete, and not before.
    """

    is_streamed = False  # whether a part is written as its chunks come

    @abstractmethod
    def held(self, number: int, size: int, read: Callable[[], Any]) -> int | None:
        """Return the digest of a part that an earlier try left here, or None.

        `read` returns the source's bytes, for who must compare.
        """

    @abstractmethod
    def put(self, number: int, chunks: Iterator[Any]) -> int:
        """Take a part and return its digest; once more replaces it."""

    @abstractmethod
    def complete(self, crc32c: int) -> None:
        """Make the item appear; Damaged when it is not what it should be."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it; what is there stays for a later try."""

    @abstractmethod
    def abort(self) -> None:
        """Remove what is there."""


class Source(ABC):
    """Where items come from."""

    url: str  # for people

    @property
    def place(self) -> str:
        """Return what says where it lies, ending in `/`: what lies in it begins so."""
        return ""

    @abstractmethod
    def items(self) -> Iterator[Item]:
        """Yield the items in the order of their names' code points; NotFound without a source."""

    @abstractmethod
    def open(self, item: Item) -> Reader:
        """Open an item."""

    @abstractmethod
    def crc32c(self, item: Item) -> int | None:
        """Return an item's digest: kept with it, or of its bytes. None where it is not known."""

    def hides(self, name: str) -> bool:
        """Tell whether the source has something of this name that it does not let travel."""
        del name
        return False


class Target(ABC):
    """Where items go."""

    url: str

    @property
    def place(self) -> str:
        """Return what says where it lies, as a source's does."""
        return ""

    whole_bytes: int  # the largest item that is written in one piece; else in parts
    at_once: int  # threads for small items before it is known how long they wait

    @abstractmethod
    def beside(
        self, items: Iterator[Item], *, extras: bool
    ) -> Iterator[tuple[Item | None, Item | None]]:
        """Yield each item with what is there under its name; with `extras` also all else there."""

    @abstractmethod
    def is_same(self, item: Item, there: Item) -> bool | None:
        """Tell whether the times of two that have one size say that `there` came of `item`.

        None where they could mean either: the digests know.
        """

    @abstractmethod
    def crc32c(self, there: Item) -> int | None:
        """Return the digest of what is there."""

    @abstractmethod
    def write(self, item: Item, data: Any, crc32c: int) -> None:
        """Write a small item, whole or not at all."""

    @abstractmethod
    def begin(self, item: Item, whole_crc32c: Callable[[], int]) -> Sink:
        """Begin or take up a large one; `whole_crc32c` reads the source to its end."""

    @abstractmethod
    def remove(self, names: Sequence[str]) -> None:
        """Remove what is there under these names."""

    def refuse(self, item: Item) -> str:
        """Say why an item can't be written here, or nothing."""
        del item
        return ""


def whole(chunks: Iterator[Any], size: int) -> Any:
    """Return `size` bytes that come in chunks as one buffer, copied only if there are several."""
    data = next(chunks, b"")
    if len(data) < size:
        data = bytearray(data)
    for chunk in chunks:
        data += chunk
    return data
