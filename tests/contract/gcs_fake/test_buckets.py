"""Buckets: what is set of one is kept, and what Google does not allow is refused in its words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from google.api_core import exceptions
from google.cloud.storage.bucket import LifecycleRuleAbortIncompleteMultipartUpload

if TYPE_CHECKING:
    from google.cloud.storage import Bucket, Client
    from tests.rig.gcs import GcsFake

KEY = "projects/p/locations/europe/keyRings/r/cryptoKeys/k"


def reason(error: exceptions.GoogleAPICallError) -> str:
    (found,) = error.errors
    return str(found["reason"])


class TestABucket:
    def test_keeps_what_is_set_of_it(self, client: Client) -> None:
        made = client.bucket("bucket")
        made.labels = {"team": "nlp"}
        made.versioning_enabled = True
        made.storage_class = "NEARLINE"
        made.default_kms_key_name = KEY
        made.add_lifecycle_delete_rule(age=7, matches_prefix=["jobs/"])
        made.add_lifecycle_abort_incomplete_multipart_upload_rule(age=1)
        made.iam_configuration.uniform_bucket_level_access_enabled = True
        made.iam_configuration.public_access_prevention = "enforced"
        client.create_bucket(made, location="europe-west4")
        found = client.get_bucket("bucket")
        assert found.labels == {"team": "nlp"}
        assert found.versioning_enabled
        assert (found.location, found.location_type) == ("EUROPE-WEST4", "region")
        assert (found.storage_class, found.default_kms_key_name) == ("NEARLINE", KEY)
        rules = list(found.lifecycle_rules)
        assert isinstance(rules[1], LifecycleRuleAbortIncompleteMultipartUpload)
        assert rules[0]["condition"] == {"age": 7, "matchesPrefix": ["jobs/"]}
        assert found.iam_configuration.uniform_bucket_level_access_enabled
        assert found.iam_configuration.uniform_bucket_level_access_locked_time
        assert found.iam_configuration.public_access_prevention == "enforced"
        found.blob("a").upload_from_string(b"x")
        blob = found.get_blob("a")
        assert blob.storage_class == "NEARLINE"
        assert blob.kms_key_name == f"{KEY}/cryptoKeyVersions/1"

    def test_changes_only_what_a_patch_names(self, client: Client, bucket: Bucket) -> None:
        bucket.labels = {"team": "nlp", "step": "1"}
        bucket.patch()
        again = client.get_bucket("bucket")
        again.labels = {"step": "2"}
        again.versioning_enabled = True
        again.patch(if_metageneration_match=2)
        found = client.get_bucket("bucket")
        assert (found.labels, found.metageneration) == ({"step": "2"}, 3)
        with pytest.raises(exceptions.PreconditionFailed):
            again.patch(if_metageneration_match=2)

    def test_is_listed_with_those_of_its_project(self, client: Client) -> None:
        names = [f"bucket-{number}" for number in range(5)]
        for name in reversed(names):
            client.create_bucket(name)
        client.create_bucket("elsewhere", project="other")
        assert [each.name for each in client.list_buckets(page_size=2)] == names
        assert [each.name for each in client.list_buckets(prefix="bucket-3")] == ["bucket-3"]

    def test_with_versions_keeps_what_was_overwritten_and_deleted(
        self, client: Client, bucket: Bucket
    ) -> None:
        bucket.versioning_enabled = True
        bucket.patch()
        first = bucket.blob("a")
        first.upload_from_string(b"first")
        bucket.blob("a").upload_from_string(b"second")
        bucket.delete_blob("a")
        assert bucket.get_blob("a") is None
        assert list(bucket.list_blobs()) == []
        old = bucket.blob("a", generation=first.generation)
        assert old.download_as_bytes() == b"first"
        assert len(list(bucket.list_blobs(versions=True))) == 2
        with pytest.raises(exceptions.Conflict):
            bucket.delete()
        for blob in bucket.list_blobs(versions=True):
            blob.delete()
        bucket.delete()

    def test_without_versions_forgets_at_once(self, bucket: Bucket) -> None:
        bucket.blob("a").upload_from_string(b"first")
        bucket.blob("a").upload_from_string(b"second")
        assert len(list(bucket.list_blobs(versions=True))) == 1

    def test_gives_its_policy_to_one_who_has_the_newest(self, bucket: Bucket) -> None:
        policy = bucket.get_iam_policy(requested_policy_version=3)
        member = {"user:a@example.com"}
        policy.bindings.append({"role": "roles/storage.objectViewer", "members": member})
        bucket.set_iam_policy(policy)
        assert bucket.get_iam_policy().bindings[-1]["members"] == member
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.set_iam_policy(policy)

    def test_lets_nobody_in_when_public_access_is_prevented(self, bucket: Bucket) -> None:
        bucket.iam_configuration.public_access_prevention = "enforced"
        bucket.patch()
        policy = bucket.get_iam_policy()
        policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
        with pytest.raises(
            exceptions.PreconditionFailed, match="public access prevention"
        ) as error:
            bucket.set_iam_policy(policy)
        assert reason(error.value) == "conditionNotMet"

    def test_with_uniform_access_takes_no_acl(self, bucket: Bucket) -> None:
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.patch()
        with pytest.raises(exceptions.BadRequest, match="uniform bucket-level access"):
            bucket.blob("a").upload_from_string(b"x", predefined_acl="publicRead")

    def test_says_what_its_caller_may_do(self, fake: GcsFake, bucket: Bucket) -> None:
        asked = ["storage.objects.get", "storage.objects.create"]
        assert bucket.test_iam_permissions(asked) == asked
        fake.denied = {"storage.objects.create"}
        assert bucket.test_iam_permissions(asked) == ["storage.objects.get"]


class TestANewBucket:
    @pytest.mark.parametrize(
        "name",
        [
            "ab",
            "a" * 64,
            "Bucket",
            "-bucket",
            "bucket-",
            "buc ket",
            "127.0.0.1",
            "goog-b",
            "my-google",
        ],
    )
    def test_has_a_name_that_google_allows(self, client: Client, name: str) -> None:
        with pytest.raises(exceptions.BadRequest, match="Invalid bucket name") as error:
            # the SDK itself refuses some, in other words
            client._connection.api_request(
                "POST", "/b", {"project": "project"}, json.dumps({"name": name})
            )
        assert reason(error.value) == "invalid"

    def test_has_no_domain_for_a_name(self, client: Client) -> None:
        with pytest.raises(exceptions.Forbidden, match="domain ownership") as error:
            client.create_bucket("bucket.example.com")
        assert reason(error.value) == "forbidden"

    def test_has_a_name_that_is_free(self, fake: GcsFake, client: Client, bucket: Bucket) -> None:
        """…neither the caller's own nor somebody else's: the text alone tells which."""
        with pytest.raises(exceptions.Conflict, match="already own it") as error:
            client.create_bucket(bucket.name)
        assert reason(error.value) == "conflict"
        fake.taken = {"theirs"}
        with pytest.raises(exceptions.Conflict, match="not available") as error:
            client.create_bucket("theirs")
        assert reason(error.value) == "conflict"
        with pytest.raises(exceptions.Forbidden):
            client.get_bucket("theirs")

    def test_is_made_by_one_who_may(self, fake: GcsFake, client: Client) -> None:
        fake.denied = {"storage.buckets.create"}
        with pytest.raises(exceptions.Forbidden, match=r"storage\.buckets\.create") as error:
            client.create_bucket("bucket")
        assert reason(error.value) == "forbidden"

    @pytest.mark.parametrize(
        "settings",
        [
            {"location": "atlantis"},
            {"storageClass": "WARM"},
            {"labels": {"Team": "nlp"}},
            {"labels": {"team": "N L P"}},
            {"encryption": {"defaultKmsKeyName": "key"}},
            {"iamConfiguration": {"publicAccessPrevention": "perhaps"}},
            {"lifecycle": {"rule": [{"action": {"type": "Burn"}, "condition": {"age": 1}}]}},
            {"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {}}]}},
            {"bogus": 1},
            {"versioning": {"enabled": "yes"}},
        ],
    )
    def test_is_refused_with_wrong_settings(
        self, client: Client, settings: dict[str, object]
    ) -> None:
        with pytest.raises(exceptions.BadRequest) as error:
            client._connection.api_request(
                "POST", "/b", {"project": "project"}, {"name": "bucket", **settings}
            )
        assert reason(error.value) == "invalid"
        assert client.lookup_bucket("bucket") is None

    def test_is_refused_with_unknown_parameters(self, client: Client) -> None:
        asked = {"project": "project", "bogus": "1"}
        with pytest.raises(exceptions.BadRequest, match="bogus"):
            client._connection.api_request("POST", "/b", asked, {"name": "bucket"})
        with pytest.raises(exceptions.BadRequest, match="project is missing") as error:
            client._connection.api_request("POST", "/b", {}, {"name": "bucket"})
        assert reason(error.value) == "required"
