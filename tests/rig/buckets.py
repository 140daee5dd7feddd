"""The clouds that the suite of buckets runs on: one entry here puts a cloud under all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.rig.emulators import clients

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rig.emulators.catalog import Emulator


@dataclass(frozen=True)
class BucketsRig:
    """A cloud's scheme, the emulator it is played by, and how its buckets are named.

    `gaps` holds what the emulator does otherwise than the cloud, by the name of the test.
    `make_plain` makes a bucket as others would, without us. `has_objects` is False where obstore
    can't reach the objects in its buckets.
    """

    scheme: str
    emulator: str
    name: Callable[[str], str]
    regions: tuple[str, str]
    gaps: dict[str, str]
    make_plain: Callable[[Emulator, str], None]
    has_objects: bool = True


def _s3_plain(emulator: Emulator, name: str) -> None:
    clients.s3_client(emulator).create_bucket(Bucket=name)


def _gcs_plain(emulator: Emulator, name: str) -> None:
    clients.gcs_client(emulator).create_bucket(name)


GOOGLE = ("europe-west1", "us-west1")
NO_XML = dict.fromkeys(
    (
        "test_can_be_created_again",
        "test_is_created_where_there_is_none",
        "test_that_holds_an_object_is_refused",
        "test_that_holds_unfinished_uploads_only_succeeds",
        "test_spares_the_uploads_of_one_that_holds_an_object",
        "test_that_was_emptied_takes_old_versions_along",
        "test_is_invisible_until_it_is_complete",
        "test_keeps_the_digest_of_what_was_sent_in_parts",
        "test_goes_on_where_it_stopped",
        "test_replaces_a_part_that_is_sent_again",
        "test_refuses_to_complete_with_another_digest",
        "test_can_be_aborted_twice",
        "test_takes_no_part_once_it_is_no_more",
        "test_needs_a_bucket",
        "test_brings_an_object_or_a_range_of_it",
        "test_ends_where_there_is_nothing_to_bring",
        "test_a_bucket_that_others_made_stays_as_it_is",
    ),
    "it speaks no XML, which obstore and uploads in parts do",
)
NO_SETTINGS = dict.fromkeys(
    (
        "test_is_private_and_encrypted_and_ours",
        "test_has_the_tags_and_the_versioning_that_were_asked_for",
        "test_lies_in_the_region_that_was_asked_for",
        "test_does_not_move",
        "test_is_listed_with_what_is_known_of_it",
    ),
    "it forgets labels, access, and where a bucket lies",
)

# All but the last is Azure's own way: what a container can't be set to, its uploads, its names.
AZURE = {
    "test_has_the_tags_and_the_versioning_that_were_asked_for": "versioning is the account's",
    "test_can_be_created_again": "versioning is the account's",
    "test_that_was_emptied_takes_old_versions_along": "versioning is the account's",
    "test_lies_in_the_region_that_was_asked_for": "a region is the account's",
    "test_does_not_move": "a region is the account's",
    "test_can_be_aborted_twice": "Azure forgets blocks after a week, and no sooner",
    r"test_that_is_unusual_is_kept_as_it_is[az-azurite-a\\b]": "Azure takes it for a slash",
    "test_that_is_unusual_is_kept_as_it_is[az-azurite-...]": "Azure wants no dot at the end",
    "test_are_removed_where_nothing_else_is": "obstore does not list the folder's own marker",
}


def _azure_plain(emulator: Emulator, name: str) -> None:
    from tests.rig.emulators.clients import blob_client

    blob_client(emulator).create_container(name.partition("/")[2])


BUCKETS = {
    "s3-ministack": BucketsRig("s3", "ministack", str, ("eu-west-1", "us-west-2"), {}, _s3_plain),
    "s3-moto": BucketsRig(
        "s3",
        "moto",
        str,
        ("eu-west-1", "us-west-2"),
        {
            "test_takes_no_name_that_the_cloud_forbids": "moto takes capital letters",
            "test_takes_no_part_once_it_is_no_more": "moto answers 500",
            "test_a_second_submit_at_once_ends_well": "moto answers 500",
            "test_keeps_the_digest_of_what_was_sent_in_parts": "moto keeps one of the digests",
            "test_refuses_to_complete_with_another_digest": "moto checks no digest",
            "test_travels_in_parts": "moto keeps one of the digests",
            "test_that_is_only_touched_is_not_sent": "moto keeps one of the digests",
        },
        _s3_plain,
    ),
    "gs-ours": BucketsRig("gs", "gcs", str, GOOGLE, {}, _gcs_plain),
    **{
        f"gs-{name}": BucketsRig(
            "gs", name, str, GOOGLE, NO_XML | NO_SETTINGS, _gcs_plain, has_objects=False
        )
        for name in ("gcp_storage_emulator", "fake_gcs_server")
    },
    "az-azurite": BucketsRig(
        "az", "azurite", "llmcloudtests/{}".format, ("westeurope", "eastus"), AZURE, _azure_plain
    ),
}
