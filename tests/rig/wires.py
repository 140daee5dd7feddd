"""What a vendor's requests and errors look like on the wire, for faults to meet them."""

from __future__ import annotations

import contextlib
import random
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from tests.rig.buckets import BUCKETS, BucketsRig
from tests.rig.faults import Answer, FaultProxy, Match, xml

from llmcloud.core.stores import open_store
from llmcloud.runtime.bucket import BucketStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.rig.emulators.catalog import Emulator


PUT, GET = Match("PUT"), Match("GET")


@dataclass(frozen=True)
class Wire:
    """A cloud of tests/rig/buckets.py, and its requests and errors.

    `put`, `part`, … tell requests apart; `last_part` is the third. `patience` names the constants
    that say how long its SDK waits. `implied` is for FaultProxy. `gaps` says where our client or
    the emulator falls short, by the name of the test.
    """

    rig: BucketsRig
    failing: Mapping[str, Answer]  # what passes when it is tried again, by name
    expired: Answer
    denied: Answer
    patience: tuple[str, ...]
    part: Match
    last_part: Match
    begin: Match
    complete: Match
    listing: Match
    put: Match = PUT
    get: Match = GET
    implied: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    gaps: Mapping[str, str] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Match, ...]:
        """Return the kinds of requests of a transfer."""
        return (self.put, self.begin, self.part, self.complete, self.listing, self.get)

    def environ(self, emulator: Emulator, url: str) -> dict[str, str]:
        """Return the variables that send clients to a URL instead of the emulator's."""
        return {name: value.replace(emulator.url, url) for name, value in emulator.environ.items()}


# For what is the same code whatever the cloud.
ON_ONE = pytest.mark.parametrize("wire", ["s3-ministack"], indirect=True)


@dataclass(frozen=True)
class WiredBucket:
    """A new bucket behind a proxy."""

    wire: Wire
    proxy: FaultProxy
    url: str

    @property
    def store(self) -> BucketStore:
        found = open_store(self.url)
        assert isinstance(found, BucketStore)
        return found

    def holds(self, prefix: str = "t") -> dict[str, bytes]:
        """Return what lies under a prefix."""
        store, begin = self.store, len(prefix) + 1
        found = list(store.objects(f"{prefix}/"))
        return {each.key[begin:]: store.get(each.key).data for each in found}


@contextlib.contextmanager
def bucket_behind_proxy(
    wire: Wire, emulator: Emulator, setenv: Callable[[str, str], None]
) -> Iterator[WiredBucket]:
    """Make one; `setenv` is told the variables that send clients to it."""
    with FaultProxy(emulator.url, wire.implied) as proxy:
        for name, value in wire.environ(emulator, proxy.url).items():
            setenv(name, value)
        # No digits: `003` is what some faults look for.
        own = "".join(random.choices(string.ascii_lowercase, k=12))
        url = f"{wire.rig.scheme}://{wire.rig.name(f'llmcloud-{own}')}"
        open_store(url).create()
        proxy.clear()
        yield WiredBucket(wire, proxy, url)


def _failing(internal: str, slow: str, late: Answer, garbled: str) -> dict[str, Answer]:
    return {
        "500": Answer(500, xml(internal)),
        "502": Answer(502, b"<html>Bad Gateway</html>"),
        "503": Answer(503, xml(slow)),
        "503-retry-after": Answer(503, xml(slow), (("Retry-After", "1"),)),
        "429": Answer(429, xml("TooManyRequests")),
        "foreign": Answer(200, b"<html>Sign in, please</html>"),
        "late": late,
        "garbled": Answer(400, xml(garbled)),
    }


def _patience(provider: str) -> tuple[str, ...]:
    return tuple(
        f"llmcloud.providers.{provider}.credentials.{name}" for name in ("READ_S", "SEND_S")
    )


LIKE_S3 = {  # Google's XML interface is
    "part": Match("PUT", query="partNumber="),
    "last_part": Match("PUT", query="partNumber=3"),
    "begin": Match("POST", query="uploads"),
    "complete": Match("POST", query="uploadId="),
    "listing": Match("GET", query="list-type=2"),
}
UNCHECKED = "obstore sends no digest that the service could check; a pull finds it"

WIRES = {
    "s3-ministack": Wire(
        BUCKETS["s3-ministack"],
        **LIKE_S3,
        failing=_failing(
            "InternalError", "SlowDown", Answer(400, xml("RequestTimeout")), "BadDigest"
        ),
        expired=Answer(400, xml("ExpiredToken")),
        denied=Answer(403, xml("AccessDenied")),
        patience=_patience("aws"),
        # ministack looks at the digest of an object only where this is said as well
        implied={"x-amz-checksum-crc64nvme": ("x-amz-sdk-checksum-algorithm", "CRC64NVME")},
    ),
    "gs-ours": Wire(
        BUCKETS["gs-ours"],
        **LIKE_S3,
        failing=_failing(
            "InternalError", "ServiceUnavailable", Answer(408, xml("RequestTimeout")), "BadDigest"
        ),
        expired=Answer(401, xml("AuthenticationRequired")),
        denied=Answer(403, xml("AccessDenied")),
        patience=_patience("gcp"),
    ),
    "az-azurite": Wire(
        BUCKETS["az-azurite"],
        part=Match("PUT", query="comp=block&"),
        last_part=Match("PUT", query="bGxtY2xvdWQwMDAz"),  # how its id begins, in base64
        begin=Match("GET", query="comp=blocklist"),  # of what is there: there is no beginning
        complete=Match("PUT", query="comp=blocklist"),
        listing=Match("GET", query="comp=list"),
        failing=_failing(
            "InternalError", "ServerBusy", Answer(500, xml("OperationTimedOut")), "Md5Mismatch"
        ),
        expired=Answer(401, xml("InvalidAuthenticationInfo")),
        denied=Answer(403, xml("AuthorizationPermissionMismatch")),
        patience=_patience("azure"),
        gaps={
            "test_when_small_files_are_pushed[az-azurite-flip_request-100]": UNCHECKED,
            "test_when_a_large_file_is_pushed[az-azurite-flip_request-100]": (
                "Azurite says InvalidOperation where Azure says Md5Mismatch"
            ),
            "test_to_a_small_file_that_is_pushed[az-azurite-Do.FLIP_REQUEST]": UNCHECKED,
        },
    ),
}
