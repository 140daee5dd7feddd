"""A cloud's buckets: what to wish for, what is known of one, and who makes and lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmcloud.runtime.bucket_api import BucketApi

OURS = "llmcloud"  # the tag, label or metadata entry of a bucket that we made


@dataclass(frozen=True)
class BucketWish:
    """How a bucket shall be; private, encrypted and without public access it always is.

    `expire_logs_days` removes the jobs' logs, which carry the mark of their cloud (LogMark).
    `abort_uploads_days` frees the parts of uploads that were never completed.
    """

    region: str = ""  # the SDK's own by default
    versioning: bool = False
    expire_logs_days: int | None = None
    abort_uploads_days: int = 7
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BucketInfo:
    """What the cloud says of a bucket; None where it does not let us look."""

    url: str
    region: str
    created_at: float | None = None  # seconds since the epoch
    is_ours: bool | None = None
    is_private: bool | None = None  # public access is blocked
    is_encrypted: bool | None = None
    has_versioning: bool | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class Buckets(ABC):
    """The buckets of an account, through its cloud's SDK.

    `name` is what follows the scheme in a URL: `bucket`, or `account/container` on Azure.
    Raises NotFound, Conflict, PermissionDenied, CredentialsError, InvalidRequest, Throttled and
    Unavailable, each with its fix.
    """

    @abstractmethod
    def open(self, name: str) -> BucketApi:
        """Return a bucket without asking whether it is there."""

    def environ(self) -> Mapping[str, str]:
        """Return variables by which a process of this machine is known as we are, if it needs any.

        For processes alone: they hold credentials.
        """
        return {}

    @abstractmethod
    def create(self, name: str, wish: BucketWish) -> BucketInfo:
        """Create a bucket, or bring one of ours to what is wished; verified by reading it back.

        Conflict when the name is someone else's, or lies in another region.
        """

    @abstractmethod
    def list(self) -> Iterator[BucketInfo]:
        """Yield the buckets that the credentials can see."""

    @abstractmethod
    def describe(self, name: str) -> BucketInfo:
        """Return one; NotFound when there is none."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete one that is empty, its unfinished uploads with it; Conflict when it is not."""

    @abstractmethod
    def empty(self, name: str) -> int:
        """Delete all objects and their versions, and return how many."""
