"""One S3 bucket: how obstore reaches it, and uploads in parts through the AWS SDK."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from llmcloud.core.transfer.crc32c import base64_of, from_base64
from llmcloud.providers.aws.codes import NO_CREDENTIALS_FIX
from llmcloud.providers.aws.direct import Direct
from llmcloud.providers.aws.errors import code_of, translated
from llmcloud.providers.aws.region import region_of
from llmcloud.runtime.bucket_api import (
    BucketApi,
    Part,
    PartUpload,
    connection_options,
    crc32c_in,
    crc32c_metadata,
)
from llmcloud.runtime.bucket_errors import not_as_sent
from llmcloud.runtime.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.providers.aws.credentials import Account
    from llmcloud.runtime.objects import Piece

# How S3s that know no CRC32C of whole objects say so.
REFUSALS = {"InvalidRequest", "InvalidArgument", "NotImplemented"}
WITH_DIGEST = {"ChecksumAlgorithm": "CRC32C", "ChecksumType": "FULL_OBJECT"}


class S3Bucket(BucketApi):
    """A bucket of S3, or of a service like it behind AWS_ENDPOINT_URL_S3."""

    credentials_fix = NO_CREDENTIALS_FIX

    def __init__(
        self,
        account: Account,
        name: str,
        make: Callable[[], object],
        locate: Callable[[str, bytes | None], str | None] = region_of,
    ) -> None:
        self.url = f"s3://{name}"
        self.name = name
        self._account = account
        self._make = make
        self._locate = locate

    def connect(self, max_retries: int) -> Any:
        from obstore.store import S3Store

        account = self._account
        provider = account.provider()  # before anything is sent
        # What is left out here, obstore takes from variables that the SDK doesn't know.
        address, path = self._address()
        return S3Store(
            self.name,
            region=self._region,
            aws_endpoint_url_s3=address,
            virtual_hosted_style_request=not path,
            skip_signature=False,
            checksum_algorithm="CRC64NVME",
            unsigned_payload=True,
            credential_provider=provider,
            **connection_options(account.endpoint, max_retries, account.authority),
        )

    def create(self) -> None:
        self._make()

    def begin(self, key: str, size: int, whole_crc32c: Callable[[], int]) -> PartUpload:  # noqa: ARG002
        from botocore.exceptions import ClientError

        client = self._client
        with translated(self.url, key):
            try:
                made = client.create_multipart_upload(Bucket=self.name, Key=key, **WITH_DIGEST)
            except ClientError as error:
                if code_of(error) not in REFUSALS:
                    raise
                kept = crc32c_metadata(whole_crc32c())
                made = client.create_multipart_upload(Bucket=self.name, Key=key, Metadata=kept)
                return S3Upload(self, client, key, made["UploadId"], time.time(), False)
            return S3Upload(self, client, key, made["UploadId"], time.time(), True)

    def unfinished(self, prefix: str) -> Iterator[PartUpload]:
        pages = self._client.get_paginator("list_multipart_uploads")
        with translated(self.url, prefix):
            for page in pages.paginate(Bucket=self.name, Prefix=prefix):
                for each in page.get("Uploads", ()):
                    yield S3Upload(
                        self,
                        self._client,
                        each["Key"],
                        each["UploadId"],
                        each["Initiated"].timestamp(),
                        each.get("ChecksumType") == "FULL_OBJECT",
                    )

    def piece(self, key: str, start: int, size: int, version: str) -> Piece | None:
        return self.direct.piece(key, start, size, version)

    def delete_marker(self, folder: str) -> None:
        with translated(self.url, folder):
            self._client.delete_object(Bucket=self.name, Key=f"{folder}/")

    def crc32c(self, key: str) -> int | None:
        if headers := self.direct.head(key):
            kind, digest = "x-amz-checksum-type", "x-amz-checksum-crc32c"
            return _whole_crc32c(headers.get(kind), headers.get(digest))
        with translated(self.url, key):
            found = self._client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        return _whole_crc32c(found.get("ChecksumType"), found.get("ChecksumCRC32C"))

    @cached_property
    def direct(self) -> Direct:
        """Return the shortest way to the bucket."""
        return Direct(self._account, "".join(self._address()), self._region)

    @property
    def _client(self) -> Any:
        return self._account.client(self._region)

    @cached_property
    def _region(self) -> str:
        """Return where the bucket lies: obstore follows it nowhere by itself."""
        account = self._account
        if account.endpoint:
            return account.region
        found = self._locate(f"{_host(account.region)}/{quote(self.name)}", account.authority)
        return found or account.region

    def _address(self) -> tuple[str, str]:
        """Return the URL of the host, and the path of the bucket there."""
        if endpoint := self._account.endpoint:
            return endpoint, f"/{quote(self.name)}"
        host = _host(self._region)
        if "." in self.name:  # no certificate matches such a host
            return host, f"/{quote(self.name)}"
        return host.replace("https://", f"https://{self.name}."), ""


def _host(region: str) -> str:
    return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


@dataclass
class S3Upload(PartUpload):
    """An upload; `has_digest` tells whether S3 itself keeps the digest of the whole."""

    bucket: S3Bucket
    client: Any
    key: str
    id: str
    started_at: float
    has_digest: bool
    _etags: dict[int, str] = field(default_factory=dict)

    def parts(self) -> dict[int, Part]:
        found = {}
        pages = self.client.get_paginator("list_parts")
        with translated(self.bucket.url, self.key):
            for page in pages.paginate(**self._named):
                for each in page.get("Parts", ()):
                    number = each["PartNumber"]
                    self._etags[number] = each["ETag"]
                    md5 = each["ETag"].strip('"')
                    found[number] = Part(each["Size"], md5, _crc32c(each.get("ChecksumCRC32C")))
        return found

    def put(self, number: int, data: bytes, crc32c: int) -> None:
        if self.has_digest:
            etag = self.bucket.direct.put_part(self.key, self.id, number, data, crc32c)
            if etag:
                self._etags[number] = etag
                return
            digest = {"ChecksumCRC32C": base64_of(crc32c)}
        else:
            md5 = hashlib.md5(data, usedforsecurity=False).digest()
            digest = {"ContentMD5": base64.b64encode(md5).decode()}
        with translated(self.bucket.url, self.key):
            # The SDK takes bytes alone of all buffers; of what they are, nothing is copied.
            body = bytes(data)
            sent = self.client.upload_part(**self._named, PartNumber=number, Body=body, **digest)
            self._etags[number] = sent["ETag"]

    def complete(self, count: int, crc32c: int) -> None:
        from botocore.exceptions import ClientError

        parts = [{"PartNumber": n, "ETag": self._etags[n]} for n in range(1, count + 1)]
        digest = {"ChecksumCRC32C": base64_of(crc32c), "ChecksumType": "FULL_OBJECT"}
        with translated(self.bucket.url, self.key):
            try:
                made = self.client.complete_multipart_upload(
                    **self._named,
                    MultipartUpload={"Parts": parts},
                    **(digest if self.has_digest else {}),
                )
            except ClientError as error:
                if code_of(error) == "BadDigest":
                    raise not_as_sent(self.bucket.url, self.key) from error
                raise
        if "ETag" not in made:
            raise Unavailable("What answered is not S3.", where=self.bucket.url)
        if self._kept(made) not in {None, crc32c}:
            raise not_as_sent(self.bucket.url, self.key)

    def abort(self) -> None:
        with contextlib.suppress(NotFound), translated(self.bucket.url, self.key):
            self.client.abort_multipart_upload(**self._named)

    def _kept(self, made: dict[str, Any]) -> int | None:
        """Return the digest that the object now has beside it."""
        if self.has_digest:
            return _whole_crc32c(made.get("ChecksumType"), made.get("ChecksumCRC32C"))
        with translated(self.bucket.url, self.key):
            found = self.client.head_object(Bucket=self.bucket.name, Key=self.key)
        return crc32c_in(found["Metadata"])

    @property
    def _named(self) -> dict[str, str]:
        return {"Bucket": self.bucket.name, "Key": self.key, "UploadId": self.id}


def _whole_crc32c(kind: str | None, encoded: str | None) -> int | None:
    return _crc32c(encoded) if kind == "FULL_OBJECT" else None


def _crc32c(encoded: str | None) -> int | None:
    """Return a digest as S3 writes it; None for one of the parts' digests, which has a suffix."""
    if not encoded or "-" in encoded:
        return None
    return from_base64(encoded)
