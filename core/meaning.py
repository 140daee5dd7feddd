"""What a vendor's code means, as a Failure: the form of every provider's tables."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from llmcloud.runtime.bucket_errors import NO_BUCKET, NO_BUCKET_FIX
from llmcloud.runtime.errors import Conflict, Failure, NotFound, StoreGone, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping


class Meaning(NamedTuple):
    """What a code says; both texts may name the bucket's {url} and what the provider gives."""

    kind: type[Failure]
    what: str
    fix: str = ""

    def failure(self, url: str, key: str = "", **given: object) -> Failure:
        """Return what to raise for a bucket, or an object in it."""
        where = f"{url}, {key}" if key else url
        what, fix = (text.format(url=url, **given) for text in (self.what, self.fix))
        return self.kind(what, where=where, fix=fix)


GONE = Meaning(StoreGone, NO_BUCKET, NO_BUCKET_FIX)
NOT_EMPTY = Meaning(
    Conflict,
    "The bucket is not empty.",
    "Add --force to delete all that is in it, old versions too.",
)
NO_OBJECT = Meaning(NotFound, "There is no such object.")
NO_UPLOAD = Meaning(NotFound, "The upload is no more.")
CHANGED = Meaning(Conflict, "The object is no longer what was read.")
DAMAGED = Meaning(Unavailable, "Bytes were damaged on their way ({code}).")


def asked_wait_s(headers: Mapping[str, str]) -> float:
    """Return how many seconds an answer asks to wait for: those of its Retry-After, or none.

    `headers` are found by names in small letters.
    """
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        return max(parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):  # most services and proxies write seconds, or nothing
        return 0.0


def by_class(meanings: Mapping[str, Meaning], error: BaseException) -> Meaning | None:
    """Return what an exception means by the name of its class, or the nearest of its bases."""
    found = (meanings.get(base.__name__) for base in type(error).__mro__)
    return next(filter(None, found), None)
