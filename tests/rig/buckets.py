"""The clouds that the suite of buckets runs on: one entry here puts a cloud under all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class BucketsRig:
    """A cloud's scheme, the emulator it is played by, and how its buckets are named.

    `gaps` holds what the emulator does otherwise than the cloud, by the name of the test.
    """

    scheme: str
    emulator: str
    name: Callable[[str], str]
    regions: tuple[str, str]
    gaps: dict[str, str]


BUCKETS = {
    "s3-ministack": BucketsRig("s3", "ministack", str, ("eu-west-1", "us-west-2"), {}),
    "s3-moto": BucketsRig(
        "s3",
        "moto",
        str,
        ("eu-west-1", "us-west-2"),
        {
            "test_takes_no_name_that_the_cloud_forbids": "moto takes capital letters",
            "test_takes_no_part_once_it_is_no_more": "moto answers 500",
            "test_keeps_the_digest_of_what_was_sent_in_parts": "moto keeps one of the digests",
            "test_refuses_to_complete_with_another_digest": "moto checks no digest",
        },
    ),
}
