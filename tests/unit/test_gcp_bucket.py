"""What one bucket of Cloud Storage does beyond the contract of all clouds."""

from __future__ import annotations

import gzip
from types import SimpleNamespace
from typing import TYPE_CHECKING

import obstore
import pytest
from fastcrc.crc32 import iscsi as crc32c
from tests.rig.gcs import GcsFake
from tests.rig.gcs.clients import storage_client

from llmcloud.core.buckets import BucketWish
from llmcloud.providers.gcp.bucket import GcsBucket
from llmcloud.providers.gcp.buckets import GcsBuckets
from llmcloud.providers.gcp.credentials import Account
from llmcloud.runtime import bucket_logs
from llmcloud.runtime.bucket import BucketStore
from llmcloud.runtime.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.cloud.storage import Bucket
    from obstore import PutResult

PAGE_AND_MORE = 1003
ODD_KEY = "a b/ä+&=?#%25~.txt"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsFake]:
    with GcsFake() as made:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", made.url)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project")
        yield made


@pytest.fixture
def buckets(fake: GcsFake) -> GcsBuckets:
    made = GcsBuckets(Account())
    made.create("bucket", BucketWish())
    return made


@pytest.fixture
def bucket(buckets: GcsBuckets) -> GcsBucket:
    found = buckets.open("bucket")
    assert isinstance(found, GcsBucket)
    return found


@pytest.fixture
def theirs(fake: GcsFake, bucket: GcsBucket) -> Bucket:
    """Give the bucket as Google's own client sees it."""
    return storage_client(fake.url).get_bucket(bucket.name)


def _put(bucket: GcsBucket, data: bytes) -> PutResult:
    return obstore.put(bucket.connect(0), "a", data)


class TestWhatObstoreHasSent:
    def test_is_right_where_the_tag_is_its_md5(self, bucket: GcsBucket) -> None:
        bucket.check_written("a", b"x", crc32c(b"x"), _put(bucket, b"x"))

    def test_is_right_where_the_tag_is_another_but_not_the_digest(self, bucket: GcsBucket) -> None:
        """…as in a bucket whose key is the customer's."""
        made = {**_put(bucket, b"x"), "e_tag": '"CJ6yv7Dt1ooDEAE="'}
        bucket.check_written("a", b"x", crc32c(b"x"), made)  # type: ignore[arg-type]

    def test_is_taken_away_where_it_is_damaged(self, bucket: GcsBucket) -> None:
        made = _put(bucket, b"y")
        with pytest.raises(Unavailable):
            bucket.check_written("a", b"x", crc32c(b"x"), made)
        with pytest.raises(NotFound):
            BucketStore(bucket).head("a")

    def test_stays_where_somebody_has_replaced_it_since(self, bucket: GcsBucket) -> None:
        made = _put(bucket, b"y")
        _put(bucket, b"z")
        bucket.check_written("a", b"x", crc32c(b"x"), made)
        assert BucketStore(bucket).get("a").data == b"z"


class TestUploadsInParts:
    def test_are_listed_page_by_page(self, bucket: GcsBucket) -> None:
        keys = [f"{number:05d}" for number in range(PAGE_AND_MORE)]
        for key in keys:
            bucket.begin(key, 1, lambda: 0)
        assert [each.key for each in bucket.unfinished("")] == keys

    def test_have_their_parts_listed_page_by_page(self, bucket: GcsBucket) -> None:
        upload = bucket.begin("a", 1, lambda: 0)
        for number in range(1, PAGE_AND_MORE + 1):
            upload.put(number, b"x", crc32c(b"x"))
        assert list(upload.parts()) == list(range(1, PAGE_AND_MORE + 1))

    def test_may_have_any_name(self, bucket: GcsBucket) -> None:
        upload = bucket.begin(ODD_KEY, 1, lambda: 0)
        upload.put(1, b"x", crc32c(b"x"))
        assert [each.key for each in bucket.unfinished(ODD_KEY[:3])] == [ODD_KEY]
        upload.complete(1, crc32c(b"x"))
        assert BucketStore(bucket).get(ODD_KEY).data == b"x"

    def test_take_no_damaged_part(self, bucket: GcsBucket) -> None:
        upload = bucket.begin("a", 1, lambda: 0)
        with pytest.raises(Unavailable):
            upload.put(1, b"x", crc32c(b"y"))
        assert upload.parts() == {}


def test_the_digest_of_what_others_uploaded_is_google_s_own(
    theirs: Bucket, bucket: GcsBucket
) -> None:
    theirs.blob("a").upload_from_string(b"theirs")
    assert BucketStore(bucket).crc32c("a") == crc32c(b"theirs")
    for size in (0, 3):
        found = bucket.piece("a", 0, size, "")
        assert found
        assert found.crc32c == crc32c(b"theirs")


def test_what_is_stored_packed_is_brought_as_it_is(theirs: Bucket, bucket: GcsBucket) -> None:
    """…as its size and digest say."""
    packed, blob = gzip.compress(b"hello"), theirs.blob("a")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    found = bucket.piece("a", 0, 0, "")
    assert found
    assert b"".join(found.chunks) == packed
    assert (found.size, found.crc32c) == (len(packed), crc32c(packed))


def test_rules_are_added_to_those_that_others_made(buckets: GcsBuckets, theirs: Bucket) -> None:
    """…and replace our own from before."""
    theirs.add_lifecycle_delete_rule(age=3, matches_prefix=["tmp/"])
    theirs.patch()
    buckets.create("bucket", BucketWish(abort_uploads_days=2))
    theirs.reload()
    found = [(rule["action"]["type"], rule["condition"]) for rule in theirs.lifecycle_rules]
    assert found == [
        ("Delete", {"age": 3, "matchesPrefix": ["tmp/"]}),
        ("AbortIncompleteMultipartUpload", {"age": 2}),
    ]


def test_access_is_by_roles_alone(theirs: Bucket) -> None:
    assert theirs.iam_configuration.uniform_bucket_level_access_enabled
    assert theirs.iam_configuration.public_access_prevention == "enforced"


def test_a_bucket_of_somebody_else_is_no_store_that_is_made(
    fake: GcsFake, buckets: GcsBuckets
) -> None:
    """…but perhaps one that can be used."""
    fake.taken.add("others")
    buckets.open("others").create()


class TestLogs:
    """…are told from the rest by a time of their own: Google's rules know no tags."""

    LOG = "jobs/id/logs/0001/00000/00000000"

    def test_have_the_time_at_which_they_were_written(
        self, bucket: GcsBucket, theirs: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """…also those of a job that runs for days: a segment counts from when it last grew."""
        clock = SimpleNamespace(time=lambda: now)
        monkeypatch.setattr(bucket_logs, "time", clock)
        store = BucketStore(bucket)
        for now, said in ((1e9, 1e9), (1e9 + 3599, 1e9), (1e9 + 3600, 1e9 + 3600)):  # noqa: B007
            store.put(self.LOG, b"x")
            assert theirs.get_blob(self.LOG).custom_time.timestamp() == said

    def test_are_what_the_rule_names(self, buckets: GcsBuckets, theirs: Bucket) -> None:
        """…which replaces our own from before, and not what others made."""
        theirs.add_lifecycle_delete_rule(days_since_custom_time=3)
        theirs.patch()
        for days in (30, 9):
            buckets.create("bucket", BucketWish(expire_logs_days=days))
        theirs.reload()
        found = [(rule["action"]["type"], rule["condition"]) for rule in theirs.lifecycle_rules]
        assert found == [
            ("Delete", {"daysSinceCustomTime": 3}),
            ("AbortIncompleteMultipartUpload", {"age": 7}),
            ("Delete", {"daysSinceCustomTime": 9, "matchesPrefix": ["jobs/"]}),
        ]
        buckets.create("bucket", BucketWish())
        theirs.reload()
        assert len(list(theirs.lifecycle_rules)) == 2
