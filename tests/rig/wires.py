"""What a vendor's requests and errors look like on the wire, for faults to meet them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.rig.buckets import BUCKETS, BucketsRig
from tests.rig.faults import Answer, Match, xml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.rig.emulators.catalog import Emulator


@dataclass(frozen=True)
class Wire:
    """A cloud of tests/rig/buckets.py, and its requests and errors.

    `put`, `part`, … tell requests apart; `last_part` is the third. `patience` names the constants
    that say how long its SDK waits. `implied` is for FaultProxy. `gaps` says where our client or
    the emulator falls short, by the name of the test.
    """

    rig: BucketsRig
    put: Match
    part: Match
    last_part: Match
    begin: Match
    complete: Match
    listing: Match
    failing: Mapping[str, Answer]  # what passes when it is tried again, by name
    expired: Answer
    denied: Answer
    patience: tuple[str, ...]
    implied: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    gaps: Mapping[str, str] = field(default_factory=dict)
    get: Match = field(default_factory=lambda: Match("GET"))

    @property
    def all(self) -> tuple[Match, ...]:
        """Return the kinds of requests of a transfer."""
        return (self.put, self.begin, self.part, self.complete, self.listing, self.get)

    def environ(self, emulator: Emulator, url: str) -> dict[str, str]:
        """Return the variables that send clients to a URL instead of the emulator's."""
        return {name: value.replace(emulator.url, url) for name, value in emulator.environ.items()}


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


UNCHECKED = "obstore sends no digest that the service could check; a pull finds it"

WIRES = {
    "s3-ministack": Wire(
        BUCKETS["s3-ministack"],
        put=Match("PUT"),
        part=Match("PUT", query="partNumber="),
        last_part=Match("PUT", query="partNumber=3"),
        begin=Match("POST", query="uploads"),
        complete=Match("POST", query="uploadId="),
        listing=Match("GET", query="list-type=2"),
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
        put=Match("PUT"),
        part=Match("PUT", query="partNumber="),
        last_part=Match("PUT", query="partNumber=3"),
        begin=Match("POST", query="uploads"),
        complete=Match("POST", query="uploadId="),
        listing=Match("GET", query="list-type=2"),
        failing=_failing(
            "InternalError", "ServiceUnavailable", Answer(408, xml("RequestTimeout")), "BadDigest"
        ),
        expired=Answer(401, xml("AuthenticationRequired")),
        denied=Answer(403, xml("AccessDenied")),
        patience=_patience("gcp"),
    ),
    "az-azurite": Wire(
        BUCKETS["az-azurite"],
        put=Match("PUT"),
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
