"""Bytes to S3 and from it by the short way of core/connection.py."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from llmcloud.core.short_way import ShortWay
from llmcloud.core.transfer.crc32c import base64_of
from llmcloud.runtime.aws_signature import Scope, signed

if TYPE_CHECKING:
    from llmcloud.providers.aws.credentials import Account


class Direct(ShortWay):
    """One bucket; what can't be had this way is None."""

    metadata = "x-amz-meta-"

    def __init__(self, account: Account, url: str, region: str) -> None:
        super().__init__(url, account.authority, account.waits)
        self._scope, self._provide = Scope(region), account.provider()

    def head(self, key: str) -> dict[str, str] | None:
        """Return the headers of an object, those of its digest among them."""
        answer = self.ask("HEAD", key, {"x-amz-checksum-mode": "ENABLED"})
        return answer.headers if answer else None

    def put_part(self, key: str, upload: str, number: int, data: bytes, crc32c: int) -> str | None:
        """Send a part of an upload, which S3 checks, and return its tag."""
        query = f"partNumber={number}&uploadId={quote(upload, safe='')}"
        digest = {"x-amz-checksum-crc32c": base64_of(crc32c)}
        answer = self.ask("PUT", key, digest, query, data)
        return answer.headers["etag"] if answer else None

    def authorized(self, request: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        return request, signed(request, self.host.name, headers, self._provide(), self._scope)
