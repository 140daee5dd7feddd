"""One bucket of Cloud Storage: how obstore reaches it, and uploads in parts."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from llmcloud.core.transfer.crc32c import base64_of
from llmcloud.providers.gcp.codes import NO_CREDENTIALS_FIX
from llmcloud.providers.gcp.direct import HASH, Direct, own_crc32c
from llmcloud.providers.gcp.xml_api import XmlApi, text
from llmcloud.runtime.bucket_api import (
    CUSTOM_TIME,
    BucketApi,
    LogMark,
    Part,
    PartUpload,
    connection_options,
)
from llmcloud.runtime.bucket_errors import not_as_sent
from llmcloud.runtime.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from obstore import PutResult

    from llmcloud.providers.gcp.credentials import Account
    from llmcloud.runtime.objects import Piece

CREATE, LIST = "storage.multipartUploads.create", "storage.multipartUploads.list"
LIST_PARTS, ABORT = "storage.multipartUploads.listParts", "storage.multipartUploads.abort"
GET, DELETE = "storage.objects.get", "storage.objects.delete"
JOIN_S = 600  # Google may take minutes to join the parts


class GcsBucket(BucketApi):
    """A bucket of Cloud Storage, or of one like it behind STORAGE_EMULATOR_HOST."""

    credentials_fix = NO_CREDENTIALS_FIX
    condition = "version"  # Google's generation
    log_mark = LogMark.TIME
    log_time = ""  # of all that is written

    def __init__(self, account: Account, name: str, make: Callable[[], object]) -> None:
        self.url = f"gs://{name}"
        self.name = name
        self._make = make
        self.account = account
        self._xml = XmlApi(account, name)

    def connect(self, max_retries: int) -> Any:
        from obstore.store import GCSStore

        account = self.account
        provider = account.provider()
        known = {"x-goog-user-project": account.payer, CUSTOM_TIME: self.log_time}
        headers = {name: value for name, value in known.items() if value}
        # What is left out here, obstore takes from variables that the SDK doesn't know.
        return GCSStore(
            self.name,
            base_url=account.endpoint,
            skip_signature=False,
            credential_provider=provider,
            **connection_options(account.endpoint, max_retries, headers=headers),
        )

    def dated(self, at: str) -> BucketApi:
        made = copy.copy(self)
        made.log_time = at
        return made

    def create(self) -> None:
        self._make()

    def begin(self, key: str, size: int, whole_crc32c: Callable[[], int]) -> PartUpload:  # noqa: ARG002
        made = self._xml.document(self._xml.ask("POST", key, {"uploads": ""}, CREATE))
        return GcsUpload(self, self._xml, key, text(made, "UploadId"), time.time())

    def unfinished(self, prefix: str) -> Iterator[PartUpload]:
        query = {"uploads": "", "prefix": prefix} if prefix else {"uploads": ""}
        markers = {"key-marker": "NextKeyMarker", "upload-id-marker": "NextUploadIdMarker"}
        for page in self._xml.pages("", query, LIST, markers):
            for each in page.iterfind("{*}Upload"):
                started_at = datetime.fromisoformat(text(each, "Initiated")).timestamp()
                key, name = text(each, "Key"), text(each, "UploadId")
                yield GcsUpload(self, self._xml, key, name, started_at)

    def check_written(self, key: str, data: Any, crc32c: int, made: PutResult) -> None:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if (made["e_tag"] or "").strip('"') == md5:
            return
        version = {"generation": made["version"] or ""}
        try:
            found = own_crc32c(self._xml.ask("HEAD", key, version, GET).headers)
        except NotFound:  # somebody has replaced it since
            return
        if found != crc32c:  # the tag is no MD5 where the key is the customer's
            with contextlib.suppress(NotFound):
                self._xml.ask("DELETE", key, version, DELETE)
            raise Unavailable("Bytes were damaged on their way.", where=f"{self.url}, {key}")

    def delete_marker(self, folder: str) -> None:
        with contextlib.suppress(NotFound):
            self._xml.ask("DELETE", f"{folder}/", {}, DELETE)

    def piece(self, key: str, start: int, size: int, version: str) -> Piece | None:
        return self._direct.piece(key, start, size, version)

    def crc32c(self, key: str) -> int | None:
        found = self._direct.crc32c(key)
        return own_crc32c(self._xml.ask("HEAD", key, {}, GET).headers) if found is None else found

    @cached_property
    def _direct(self) -> Direct:
        return Direct(self.account, self.name)


@dataclass
class GcsUpload(PartUpload):
    """An upload through the XML interface."""

    bucket: GcsBucket
    xml: XmlApi
    key: str
    id: str
    started_at: float
    _etags: dict[int, str] = field(default_factory=dict)

    def parts(self) -> dict[int, Part]:
        found = {}
        markers = {"part-number-marker": "NextPartNumberMarker"}
        for page in self.xml.pages(self.key, {"uploadId": self.id}, LIST_PARTS, markers):
            for each in page.iterfind("{*}Part"):
                number = int(text(each, "PartNumber"))
                self._etags[number] = etag = text(each, "ETag")
                found[number] = Part(int(text(each, "Size")), md5=etag.strip('"'))
        return found

    def put(self, number: int, data: bytes, crc32c: int) -> None:
        query = {"partNumber": str(number), "uploadId": self.id}
        headers = {HASH: f"crc32c={base64_of(crc32c)}"}
        sent = self.xml.ask("PUT", self.key, query, CREATE, data=data, headers=headers)
        etag = sent.headers.get("ETag")
        if not etag:
            raise Unavailable("Something else than Cloud Storage answered.", where=self.bucket.url)
        self._etags[number] = etag

    def complete(self, count: int, crc32c: int) -> None:
        body = ET.Element("CompleteMultipartUpload")
        for number in range(1, count + 1):
            part = ET.SubElement(body, "Part")
            ET.SubElement(part, "PartNumber").text = str(number)
            ET.SubElement(part, "ETag").text = self._etags[number]
        made = self.xml.ask(
            "POST",
            self.key,
            {"uploadId": self.id},
            CREATE,
            data=ET.tostring(body),
            timeout=(self.bucket.account.timeout_s[0], JOIN_S),
        )
        text(self.xml.document(made), "ETag")
        if (own_crc32c(made.headers) or self.bucket.crc32c(self.key)) != crc32c:
            raise not_as_sent(self.bucket.url, self.key)

    def abort(self) -> None:
        with contextlib.suppress(NotFound):
            self.xml.ask("DELETE", self.key, {"uploadId": self.id}, ABORT)
