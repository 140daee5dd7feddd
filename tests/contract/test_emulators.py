"""What the emulators that others wrote do, and where they don't do what the vendor does.

Each gap is an expected failure: when a newer version mends it, its test says so, and what the
data plane's tests leave out because of it can come back.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import obstore
import pytest
import requests
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from botocore.exceptions import ClientError
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.storage import transfer_manager
from google.cloud.storage.exceptions import InvalidResponse
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, PreconditionError
from tests.rig.emulators import catalog, clients, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from obstore.store import AzureStore, S3Store
    from tests.rig.emulators.catalog import Emulator, Emulators

CHUNK = 256 * 1024  # the smallest that a resumable upload to GCS may send
S3 = ("ministack", "moto")
BLOB = ("azurite", "azurite_oauth")
GCS = ("gcp_storage_emulator", "fake_gcs_server")


def lacking(names: tuple[str, ...], **reasons: str) -> Any:
    """Run a test on each emulator; on those with a reason it must fail."""
    wrong = (AssertionError, pytest.fail.Exception)
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(
                name, marks=pytest.mark.xfail(strict=True, raises=wrong, reason=reasons[name])
            )
            if name in reasons
            else name
            for name in names
        ],
    )


@pytest.fixture
def emulator(emulators: Emulators, name: str) -> Emulator:
    return emulators.get(name)


@pytest.fixture
def bucket() -> str:
    """Return a name that no other test has."""
    return f"test-{uuid.uuid4().hex}"


class TestS3:
    @pytest.fixture
    def s3(self, emulator: Emulator, bucket: str) -> Iterator[Any]:
        with closing(clients.s3_client(emulator)) as client:
            client.create_bucket(Bucket=bucket)
            yield client

    @pytest.fixture
    def store(self, s3: Any, emulator: Emulator, bucket: str) -> S3Store:
        return clients.s3_store(emulator, bucket)

    @lacking(S3)
    def test_stores_and_lists(self, s3: Any, bucket: str) -> None:
        """…page by page, in order, from a key on."""
        for number in range(5):
            s3.put_object(Bucket=bucket, Key=f"a/{number}", Body=b"%d" % number)
        s3.put_object(Bucket=bucket, Key="b/1", Body=b"")
        assert s3.get_object(Bucket=bucket, Key="a/3")["Body"].read() == b"3"
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="a/", StartAfter="a/0", PaginationConfig={"PageSize": 3}
        )
        assert [[e["Key"] for e in page["Contents"]] for page in pages] == [
            ["a/1", "a/2", "a/3"],
            ["a/4"],
        ]
        folders = s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"]
        assert [each["Prefix"] for each in folders] == ["a/", "b/"]

    @lacking(S3)
    def test_honours_conditions(self, store: S3Store) -> None:
        etag = obstore.put(store, "a", b"old", mode="create")["e_tag"]
        with pytest.raises(AlreadyExistsError):
            obstore.put(store, "a", b"late", mode="create")
        obstore.put(store, "a", b"new", mode={"e_tag": etag})
        for key in ("a", "absent"):
            with pytest.raises(PreconditionError):
                obstore.put(store, key, b"late", mode={"e_tag": etag})
        assert bytes(obstore.get(store, "a").bytes()) == b"new"

    @lacking(S3)
    def test_keeps_what_a_bucket_is_told(self, s3: Any, bucket: str) -> None:
        blocked = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"),
            True,
        )
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocked)
        said = s3.get_public_access_block(Bucket=bucket)
        assert said["PublicAccessBlockConfiguration"] == blocked
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        s3.put_object(Bucket=bucket, Key="a")
        with pytest.raises(ClientError, match="BucketNotEmpty"):
            s3.delete_bucket(Bucket=bucket)

    @lacking(S3, moto="accepts a wrong Content-MD5")
    def test_refuses_a_wrong_md5(self, s3: Any, bucket: str) -> None:
        with pytest.raises(ClientError, match="BadDigest"):
            s3.put_object(Bucket=bucket, Key="a", Body=b"x", ContentMD5=md5(b"y"))

    @lacking(S3, moto="accepts a wrong checksum")
    @pytest.mark.parametrize("kind", ["CRC32", "SHA256"])
    def test_refuses_a_wrong_checksum(self, s3: Any, bucket: str, kind: str) -> None:
        with pytest.raises(ClientError, match="BadDigest"):
            put_with_wrong_checksum(s3, bucket, kind, ChecksumAlgorithm=kind)

    @lacking(S3, moto="accepts it", ministack="checks only with x-amz-sdk-checksum-algorithm")
    def test_refuses_a_wrong_checksum_whose_kind_only_its_header_names(
        self, s3: Any, bucket: str
    ) -> None:
        with pytest.raises(ClientError, match="BadDigest"):
            put_with_wrong_checksum(s3, bucket, "SHA256")

    @lacking(S3, ministack="knows no CRC32C")
    def test_takes_a_crc32c(self, s3: Any, bucket: str) -> None:
        try:
            s3.put_object(Bucket=bucket, Key="a", ChecksumCRC32C="AAAAAA==")
        except ClientError as error:
            pytest.fail(str(error))

    @lacking(S3, ministack="gives one of the parts' checksums", moto="gives four bytes")
    def test_gives_the_crc64_of_a_whole_object_for_one_sent_in_parts(
        self, s3: Any, emulator: Emulator, bucket: str
    ) -> None:
        store = clients.s3_store(emulator, bucket, checksum_algorithm="CRC64NVME")
        obstore.put(store, "whole", b"x", use_multipart=False)
        obstore.put(store, "parts", b"x", use_multipart=True)
        whole, parts = (
            s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED").get("ChecksumCRC64NVME")
            for key in ("whole", "parts")
        )
        assert whole == parts

    @lacking(S3, ministack="takes parts of any size")
    def test_refuses_small_parts(self, s3: Any, bucket: str) -> None:
        upload = {"Bucket": bucket, "Key": "a"}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        parts = [
            {"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=b"x")["ETag"]}
            for n in (1, 2)
        ]
        with pytest.raises(ClientError, match="EntityTooSmall"):
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    @lacking(S3, ministack="checks no signature", moto="checks no signature")
    def test_refuses_a_wrong_signature(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="a", Body=b"x")
        url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a"})
        assert requests.get(url[:-4] + "AAAA", timeout=10).status_code == 403


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def put_with_wrong_checksum(s3: Any, bucket: str, kind: str, **more: str) -> None:
    size = {"CRC32": 4, "SHA256": 32}[kind]
    wrong = {f"Checksum{kind}": base64.b64encode(bytes(size)).decode()}
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", **wrong, **more)


class TestBlob:
    @pytest.fixture
    def container(self, emulator: Emulator, bucket: str) -> Iterator[Any]:
        with clients.blob_client(emulator) as service:
            yield service.create_container(bucket)

    @pytest.fixture
    def store(self, container: Any, emulator: Emulator, bucket: str) -> AzureStore:
        return clients.azure_store(emulator, bucket)

    @lacking(BLOB)
    def test_stores_and_lists(self, container: Any) -> None:
        for number in range(5):
            container.upload_blob(f"a/{number}", b"%d" % number)
        assert container.download_blob("a/3").readall() == b"3"
        pages = container.list_blobs(name_starts_with="a/", results_per_page=3).by_page()
        assert [[e.name for e in page] for page in pages] == [
            ["a/0", "a/1", "a/2"],
            ["a/3", "a/4"],
        ]
        assert [each.name for each in container.walk_blobs()] == ["a/"]

    @lacking(BLOB)
    def test_honours_conditions(self, container: Any, store: AzureStore) -> None:
        etag = obstore.put(store, "a", b"old", mode="create")["e_tag"]
        with pytest.raises(AlreadyExistsError):
            obstore.put(store, "a", b"late", mode="create")
        obstore.put(store, "a", b"new", mode={"e_tag": etag})
        for key in ("a", "absent"):
            with pytest.raises(PreconditionError):
                obstore.put(store, key, b"late", mode={"e_tag": etag})
        with pytest.raises(HttpResponseError) as caught:
            container.delete_blob("a", etag=etag, match_condition=MatchConditions.IfNotModified)
        assert caught.value.error_code == "ConditionNotMet"
        assert bytes(obstore.get(store, "a").bytes()) == b"new"

    @lacking(BLOB)
    def test_refuses_a_wrong_md5(self, container: Any) -> None:
        with pytest.raises(HttpResponseError) as caught:
            container.upload_blob("a", b"x", headers={"Content-MD5": md5(b"y")})
        assert caught.value.status_code == 400

    @lacking(("azurite",))
    def test_refuses_a_wrong_key(self, emulator: Emulator) -> None:
        wrong = {"account_name": catalog.ACCOUNT, "account_key": md5(b"wrong")}
        with (
            clients.blob_client(emulator, wrong) as service,
            pytest.raises(HttpResponseError) as caught,
        ):
            service.create_container("never")
        assert caught.value.status_code == 403

    @lacking(("azurite_oauth",))
    @pytest.mark.parametrize(
        "wrong",
        [
            {"lifetime_s": -1.0},
            {"audience": "https://management.azure.com"},
            {"issuer": "https://example.com/"},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_refuses_a_token(self, emulator: Emulator, bucket: str, wrong: Any) -> None:
        """…that has expired, or is meant for or comes from somebody else."""
        store = clients.azure_store(emulator, bucket, lambda: tokens.mint(**wrong))
        with pytest.raises(PermissionDeniedError):
            obstore.put(store, "a", b"x")

    @lacking(BLOB, azurite="orders UTF-16 units", azurite_oauth="orders UTF-16 units")
    def test_lists_in_the_order_of_the_names_bytes(self, container: Any) -> None:
        for name in ("🦙", "\uff5e"):
            container.upload_blob(name, b"")
        assert list(container.list_blob_names()) == ["\uff5e", "🦙"]

    @lacking(BLOB, azurite="ignores startFrom", azurite_oauth="ignores startFrom")
    def test_lists_from_a_key_on(self, store: AzureStore) -> None:
        for key in ("a", "b", "c"):
            obstore.put(store, key, b"")
        listed = itertools.chain.from_iterable(obstore.list(store, offset="b"))
        assert [each["path"] for each in listed] == ["c"]


class TestGCS:
    @pytest.fixture
    def gcs(self, emulator: Emulator, bucket: str) -> Iterator[Any]:
        with closing(clients.gcs_client(emulator)) as client:
            yield client.create_bucket(bucket)

    @pytest.fixture
    def upload(self, gcs: Any, emulator: Emulator) -> str:
        """Return the URL of an upload of two chunks, `a`, of which one has been sent."""
        begun = requests.post(
            f"{emulator.url}/upload/storage/v1/b/{gcs.name}/o",
            params={"uploadType": "resumable", "name": "a"},
            json={},
            timeout=10,
        )
        url = begun.headers["Location"]
        assert send(url, f"0-{CHUNK - 1}", b"x" * CHUNK).status_code == 308
        return url

    @lacking(GCS)
    def test_stores_and_lists(self, gcs: Any) -> None:
        for key in ("a/0", "a/1", "b"):
            gcs.blob(key).upload_from_string(key)
        assert gcs.blob("a/1").download_as_bytes() == b"a/1"
        assert gcs.blob("a/1").download_as_bytes(start=2, end=2) == b"1"
        assert [each.name for each in gcs.list_blobs(prefix="a/")] == ["a/0", "a/1"]

    @lacking(GCS)
    def test_shows_no_half_of_an_upload(self, gcs: Any, upload: str) -> None:
        assert gcs.get_blob("a") is None

    @lacking(GCS)
    def test_composes(self, gcs: Any) -> None:
        for key in ("a", "b"):
            gcs.blob(key).upload_from_string(key)
        gcs.blob("c").compose([gcs.blob("a"), gcs.blob("b")])
        assert gcs.blob("c").download_as_bytes() == b"ab"

    @lacking(GCS, gcp_storage_emulator="ignores ifGenerationMatch")
    def test_honours_a_generation(self, gcs: Any) -> None:
        gcs.blob("a").upload_from_string("old", if_generation_match=0)
        for stale in (0, 1):
            with pytest.raises(GoogleAPICallError) as caught:
                gcs.blob("a").upload_from_string("late", if_generation_match=stale)
            assert caught.value.code == 412

    @lacking(
        GCS,
        gcp_storage_emulator="ignores ifGenerationMatch",
        fake_gcs_server="ignores it in deletions",
    )
    def test_honours_a_generation_in_deletions(self, gcs: Any) -> None:
        gcs.blob("a").upload_from_string("x")
        with pytest.raises(GoogleAPICallError):
            gcs.blob("a").delete(if_generation_match=1)

    @lacking(
        GCS,
        gcp_storage_emulator="ignores ifGenerationMatch",
        fake_gcs_server="ignores it in resumable uploads",
    )
    def test_honours_a_generation_in_resumable_uploads(self, gcs: Any) -> None:
        gcs.blob("a").upload_from_string("x")
        with pytest.raises(GoogleAPICallError) as caught:
            gcs.blob("a", chunk_size=CHUNK).upload_from_file(
                io.BytesIO(bytes(CHUNK * 2)), if_generation_match=1
            )
        assert caught.value.code == 412

    @lacking(GCS, fake_gcs_server="accepts a wrong md5Hash")
    def test_refuses_a_wrong_md5(self, gcs: Any) -> None:
        blob = gcs.blob("a")
        blob.md5_hash = md5(b"y")
        with pytest.raises(GoogleAPICallError):
            blob.upload_from_string("x")

    @lacking(GCS, gcp_storage_emulator="accepts it", fake_gcs_server="accepts it")
    def test_refuses_a_wrong_crc32c(self, gcs: Any) -> None:
        blob = gcs.blob("a")
        blob.crc32c = "AAAAAA=="
        with pytest.raises(GoogleAPICallError):
            blob.upload_from_string("x")

    @lacking(GCS, gcp_storage_emulator="returns one page with all")
    def test_lists_in_pages(self, gcs: Any) -> None:
        for key in ("a", "b", "c"):
            gcs.blob(key).upload_from_string("")
        assert [len(list(page)) for page in gcs.list_blobs(page_size=2).pages] == [2, 1]

    @lacking(GCS, gcp_storage_emulator="ignores startOffset")
    def test_lists_from_a_key_on(self, gcs: Any) -> None:
        for key in ("a", "b"):
            gcs.blob(key).upload_from_string("")
        assert [each.name for each in gcs.list_blobs(start_offset="b")] == ["b"]

    @lacking(GCS, fake_gcs_server="takes a status query for the end of the upload")
    def test_goes_on_with_an_upload_after_a_status_query(self, gcs: Any, upload: str) -> None:
        asked = send(upload, "*")
        assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{CHUNK - 1}")
        assert send(upload, f"{CHUNK}-{2 * CHUNK - 1}", b"y" * CHUNK).status_code == 200
        assert gcs.blob("a").download_as_bytes() == b"x" * CHUNK + b"y" * CHUNK

    @lacking(GCS, gcp_storage_emulator="answers 501", fake_gcs_server="answers 400")
    def test_speaks_xml(self, gcs: Any, tmp_path: Path) -> None:
        """…as parallel uploads and obstore do."""
        (tmp_path / "file").write_bytes(b"x")
        try:
            transfer_manager.upload_chunks_concurrently(
                str(tmp_path / "file"), gcs.blob("a"), worker_type=transfer_manager.THREAD
            )
        except InvalidResponse as error:
            pytest.fail(str(error))

    @lacking(GCS, gcp_storage_emulator="drops all", fake_gcs_server="drops all")
    def test_keeps_what_a_bucket_is_created_with(self, gcs: Any) -> None:
        made = gcs.client.bucket(f"{gcs.name}-more")
        made.iam_configuration.public_access_prevention = "enforced"
        made.labels = {"team": "nlp"}
        made.create(location="EUROPE-WEST1")
        made.reload()
        assert made.iam_configuration.public_access_prevention == "enforced"
        assert (made.labels, made.location) == ({"team": "nlp"}, "EUROPE-WEST1")


def send(url: str, place: str, data: bytes = b"") -> requests.Response:
    """Send a chunk of an upload of two, or ask with `*` how far it has come."""
    return requests.put(
        url, data=data, headers={"Content-Range": f"bytes {place}/{2 * CHUNK}"}, timeout=10
    )
