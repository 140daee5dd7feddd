"""S3 in the rig is another emulator's, passed on whole and under each of its host names."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from tests.rig.aws.said import refusal

if TYPE_CHECKING:
    from tests.contract.aws_cloud.conftest import ClientOf
    from tests.rig.aws.remote import Remote
    from tests.rig.emulators.catalog import Emulator

KEY = "jobs/a job/ü+%20"


@pytest.fixture
def bucket(client_of: ClientOf) -> str:
    name = f"objects-{uuid.uuid4()}"  # a reset leaves S3 as it is
    client_of("s3").create_bucket(Bucket=name)
    return name


def test_a_bucket_may_be_somebody_elses(client_of: ClientOf, remote: Remote) -> None:
    """Whoever asks for it hears that, or nothing."""
    remote.post("taken-buckets", ["theirs"])
    client = client_of("s3")
    assert refusal(client.create_bucket, Bucket="theirs") == ("BucketAlreadyExists", 409)
    assert refusal(client.head_bucket, Bucket="theirs") == ("403", 403)
    assert refusal(client.list_objects_v2, Bucket="theirs") == ("AccessDenied", 403)


class TestAnObject:
    def test_comes_back_whole_and_in_parts(self, client_of: ClientOf, bucket: str) -> None:
        """However long it is, and whatever its key; HEAD tells its size."""
        client = client_of("s3")
        body = os.urandom(5 << 20)
        client.put_object(Bucket=bucket, Key=KEY, Body=body)
        asked = {"Bucket": bucket, "Key": KEY}
        assert client.head_object(**asked)["ContentLength"] == len(body)
        assert client.get_object(**asked)["Body"].read() == body
        part = client.get_object(**asked, Range="bytes=1048570-1048585")
        assert part["Body"].read() == body[1048570:1048586]
        assert part["ContentRange"] == f"bytes 1048570-1048585/{len(body)}"
        assert [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]] == [KEY]

    def test_is_written_only_where_there_is_none(self, client_of: ClientOf, bucket: str) -> None:
        client = client_of("s3")
        client.put_object(Bucket=bucket, Key="once", Body=b"", IfNoneMatch="*")
        asked = {"Bucket": bucket, "Key": "once", "Body": b"", "IfNoneMatch": "*"}
        assert refusal(client.put_object, **asked) == ("PreconditionFailed", 412)

    def test_can_be_uploaded_in_parts_and_deleted_with_others(
        self, client_of: ClientOf, bucket: str, remote: Remote
    ) -> None:
        """Also where IAM is enforced, which looks into the list of what is deleted."""
        remote.post("knobs", enforces_iam=True)
        client = client_of("s3")
        asked = {"Bucket": bucket, "Key": "big"}
        upload = client.create_multipart_upload(**asked)["UploadId"]
        part = client.upload_part(**asked, UploadId=upload, PartNumber=1, Body=b"part")
        parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
        client.complete_multipart_upload(**asked, UploadId=upload, MultipartUpload=parts)
        client.copy_object(**{**asked, "Key": "copy"}, CopySource=asked)
        said = client.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": "big"}, {"Key": "copy"}]}
        )
        assert len(said["Deleted"]) == 2

    def test_is_found_by_the_bucket_in_the_host_name(
        self, cloud: Emulator, client_of: ClientOf, bucket: str
    ) -> None:
        client_of("s3").put_object(Bucket=bucket, Key="dir/a b", Body=b"text")
        for host in (f"{bucket}.s3.us-east-1.amazonaws.com", f"{bucket}.s3.amazonaws.com"):
            request = Request(f"{cloud.url}/dir/a%20b", headers={"Host": host})
            with urlopen(request, timeout=30) as answer:
                assert answer.read() == b"text"
        request = Request(
            f"{cloud.url}/{bucket}/dir/a%20b", headers={"Host": "s3.us-east-1.amazonaws.com"}
        )
        with urlopen(request, timeout=30) as answer:
            assert answer.read() == b"text"

    def test_is_in_the_journal_by_its_key(
        self, client_of: ClientOf, bucket: str, remote: Remote
    ) -> None:
        """So that a fault can meet one object only."""
        client: Any = client_of("s3")
        remote.post("faults", operation="PutObject", key="job a/", code="SlowDown", status=503)
        client.put_object(Bucket=bucket, Key="other", Body=b"")
        asked = {"Bucket": bucket, "Key": "job a/x", "Body": b""}
        assert refusal(client.put_object, **asked) == ("SlowDown", 503)
        (entry,) = [each for each in remote.get("requests") if each["key"] == "job a/x"]
        assert (entry["operation"], entry["bucket"]) == ("PutObject", bucket)
