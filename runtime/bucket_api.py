"""A bucket as its cloud knows it: how to connect, and what only the cloud's own SDK can do.

Bytes that fit one request go through obstore, which is the same for every cloud (bucket.py).
"""

from __future__ import annotations

import enum
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from obstore import PutResult
    from obstore.store import ClientConfig

    from llmcloud.runtime.objects import Piece

PART_BYTES = 8 << 20
PARTS_MAX = 10_000
# Of obstore with one request; the last is a part of 8 MiB at 30 kB/s.
PATIENCE: ClientConfig = {"connect_timeout": "10s", "read_timeout": "30s", "timeout": "5m"}
LOG_TAG = {"llmcloud": "log"}
CUSTOM_TIME = "x-goog-custom-time"  # the header by which an object at Google gets a time
LOG_PREFIX = "jobs/"  # what a rule knows of where logs lie, beside what must stay
CRC32C = "crc32c"  # metadata: Azure allows letters and digits only
_HEX = re.compile("[0-9a-f]{8}")


class LogMark(enum.Enum):
    """By what a bucket's rules tell the pieces of jobs' logs, which they may expire, from the rest.

    Rules know how keys begin, and logs lie beside what must stay.
    """

    TAG = enum.auto()  # LOG_TAG
    TIME = enum.auto()  # the time of its own that an object can have, and others here don't


@dataclass(frozen=True)
class Part:
    """A part that the service has; `md5` is in hexadecimal. A digest it does not tell is None."""

    size: int
    md5: str | None = None
    crc32c: int | None = None


class PartUpload(ABC):
    """An object on its way, invisible until it is complete.

    Methods raise NotFound when the upload is no more (completed or aborted by someone else), and
    the failures of ObjectStore.
    """

    key: str
    started_at: float  # seconds since the epoch

    @abstractmethod
    def parts(self) -> dict[int, Part]:
        """Return what the service has, by number from 1."""

    @abstractmethod
    def put(self, number: int, data: bytes, crc32c: int) -> None:
        """Send a part with a digest that the service checks; a second one replaces the first."""

    @abstractmethod
    def complete(self, count: int, crc32c: int) -> None:
        """Make the object of the parts 1 to `count`; Conflict unless this is its digest.

        The service keeps the digest with it.
        """

    @abstractmethod
    def abort(self) -> None:
        """Free what was sent; an upload that is no more is aborted already."""


class BucketApi(ABC):
    """One bucket as its vendor knows it; thread-safe.

    A node has what obstore can do; the SDKs, which only the command line has, do the rest.
    Failures are those of ObjectStore; StoreGone when there is no such bucket.
    """

    url: str
    condition = "e_tag"  # what a conditional write names: "e_tag" or "version"
    log_mark = LogMark.TAG
    is_ordered = True  # listings come in the order of the keys' bytes
    hides_absent = False  # who may list only a part of it is denied what is not there
    credentials_fix = ""  # what to run when there are no valid credentials

    @abstractmethod
    def connect(self, max_retries: int) -> Any:
        """Return an obstore store whose credentials are the vendor's own, renewed as they expire.

        `max_retries` is how often obstore itself tries a request again.
        """

    def dated(self, at: str) -> BucketApi:
        """Return the same bucket, where all that is written has this time: for LogMark.TIME."""
        raise NotImplementedError

    def piece(self, key: str, start: int, size: int, version: str) -> Piece | None:
        """Return what ObjectStore.piece does, by a shorter way than obstore's; None without one."""
        del key, start, size, version
        return None

    def refuses(self, key: str) -> str:
        """Say why the service would not keep an object under just this key, or nothing."""
        del key
        return ""

    def create(self) -> None:
        """Create the bucket if it is absent: private, encrypted, public access blocked."""
        raise InvalidRequest("A node makes no buckets.", where=self.url)

    def begin(self, key: str, size: int, whole_crc32c: Callable[[], int]) -> PartUpload:  # noqa: ARG002
        """Begin an upload of `size` bytes.

        `whole_crc32c` reads the source to its end: only for a service that wants the digest first.
        """
        raise InvalidRequest("A node sends no parts.", where=f"{self.url}, {key}")

    def unfinished(self, prefix: str) -> Iterator[PartUpload]:
        """Yield the uploads under a prefix that are neither complete nor aborted."""
        del prefix
        return iter(())

    def unfinished_of(self, key: str) -> Iterator[PartUpload]:
        """Yield the uploads of one object that are neither complete nor aborted."""
        return (each for each in self.unfinished(key) if each.key == key)

    def check_written(self, key: str, data: Any, crc32c: int, made: PutResult) -> None:
        """Raise Unavailable if the service has something else than what obstore has just sent.

        There is nothing to do where obstore sends a digest that the service checks.
        """
        del key, data, crc32c, made

    def delete_marker(self, folder: str) -> None:
        """Delete the object `folder/` that consoles make; obstore takes its key for `folder`."""
        del folder

    def crc32c(self, key: str) -> int | None:
        """Return the digest of an object sent in parts, or None where the service keeps none."""
        del key
        return None


def part_bytes(size: int) -> int:
    """Return how large the parts of an object are: the same for each try, so that one resumes."""
    mib = 1 << 20
    needed = -(-size // PARTS_MAX)
    return max(PART_BYTES, -(-needed // mib) * mib)


def part_count(size: int) -> int:
    """Return how many parts an object has."""
    return -(-size // part_bytes(size))


def crc32c_metadata(crc32c: int) -> dict[str, str]:
    """Return the metadata that keep a digest with its object."""
    return {CRC32C: f"{crc32c:08x}"}


def crc32c_in(metadata: Mapping[str, str]) -> int | None:
    """Return the digest that an object's metadata keep, or None."""
    text = metadata.get(CRC32C, "")
    return int(text, 16) if _HEX.fullmatch(text) else None  # other programs write what they like


def connection_options(
    endpoint: str,
    max_retries: int,
    authority: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what all of obstore's stores are opened with; `authority` is a certificate.

    `headers` go with each request, and are not signed.
    """
    client: ClientConfig = {**PATIENCE, "allow_http": endpoint.startswith("http:")}
    if authority:
        client["root_certificate"] = authority
    if headers:
        client["default_headers"] = dict(headers)
    return {"client_options": client, "retry_config": {"max_retries": max_retries}}
