"""What a vendor's requests and errors look like on the wire, for faults to meet them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.rig.faults import Answer, Match, xml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.rig.emulators.catalog import Emulator


@dataclass(frozen=True)
class Wire:
    """A cloud: its scheme, the emulator it is played by, and how to send clients to a proxy.

    `put`, `part`, … tell its requests apart; `last_part` is the third.
    """

    scheme: str
    emulator: str
    through: Callable[[Emulator, str], Mapping[str, str]]
    name: Callable[[str], str]
    put: Match
    part: Match
    last_part: Match
    begin: Match
    complete: Match
    get: Match
    listing: Match
    delete: Match
    failing: Mapping[str, Answer]  # what passes when it is tried again, by name
    expired: Answer
    denied: Answer
    patience: Mapping[str, float] = field(default_factory=dict)  # the SDK's, shorter
    implied: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Match, ...]:
        """Return the kinds of requests of a transfer."""
        return (self.put, self.begin, self.part, self.complete, self.listing, self.get)


def _s3_through(emulator: Emulator, url: str) -> dict[str, str]:
    return {**emulator.environ, "AWS_ENDPOINT_URL_S3": url}


WIRES = {
    "s3-ministack": Wire(
        "s3",
        "ministack",
        _s3_through,
        str,
        put=Match("PUT"),
        part=Match("PUT", query="partNumber="),
        last_part=Match("PUT", query="partNumber=3"),
        begin=Match("POST", query="uploads"),
        complete=Match("POST", query="uploadId="),
        get=Match("GET"),
        listing=Match("GET", query="list-type=2"),
        delete=Match("POST", query="delete"),
        failing={
            "500": Answer(500, xml("InternalError")),
            "503": Answer(503, xml("SlowDown")),
            "503-retry-after": Answer(503, xml("SlowDown"), (("Retry-After", "1"),)),
            "429": Answer(429, xml("TooManyRequests")),
            "late": Answer(400, xml("RequestTimeout")),
            "garbled": Answer(400, xml("BadDigest")),
            "502": Answer(502, b"<html>Bad Gateway</html>"),
        },
        expired=Answer(400, xml("ExpiredToken")),
        denied=Answer(403, xml("AccessDenied")),
        # ministack looks at the digest of an object only where this is said as well
        implied={"x-amz-checksum-crc64nvme": ("x-amz-sdk-checksum-algorithm", "CRC64NVME")},
        patience={
            "llmcloud.providers.aws.credentials.READ_S": 1,
            "llmcloud.providers.aws.credentials.SEND_S": 1,
        },
    ),
}
