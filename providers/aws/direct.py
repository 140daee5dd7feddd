"""Bytes to S3 and from it by the short way of core/connection.py."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from llmcloud.core.connection import Host
from llmcloud.core.transfer.crc32c import base64_of
from llmcloud.providers.aws.signature import signed
from llmcloud.runtime.bucket_api import crc32c_in
from llmcloud.runtime.errors import Unavailable
from llmcloud.runtime.objects import Piece

if TYPE_CHECKING:
    from llmcloud.core.connection import Answer
    from llmcloud.providers.aws.credentials import Account

METADATA = "x-amz-meta-"


class Direct:
    """One bucket; what can't be had this way is None."""

    def __init__(self, account: Account, address: str, path: str, region: str) -> None:
        self._host = Host(address, account.authority, account.waits)
        self._path = f"{urlsplit(address).path}{path}/"
        self._region, self._provide = region, account.provider()

    def piece(self, key: str, start: int, size: int, version: str) -> Piece | None:
        """Return a range of one version of an object, or all of it for a `size` of 0."""
        headers = {"range": f"bytes={start}-{start + size - 1}"} if size else {}
        if version:
            headers["if-match"] = version
        answer = self._ask("GET", key, headers)
        return _piece(key, answer) if answer else None

    def head(self, key: str) -> dict[str, str] | None:
        """Return the headers of an object, those of its digest among them."""
        answer = self._ask("HEAD", key, {"x-amz-checksum-mode": "ENABLED"})
        return answer.headers if answer else None

    def put_part(self, key: str, upload: str, number: int, data: bytes, crc32c: int) -> str | None:
        """Send a part of an upload, which S3 checks, and return its tag."""
        query = f"partNumber={number}&uploadId={quote(upload, safe='~')}"
        digest = {"x-amz-checksum-crc32c": base64_of(crc32c)}
        answer = self._ask("PUT", key, digest, query, data)
        return answer.headers["etag"] if answer else None

    def _ask(
        self, method: str, key: str, headers: dict[str, str], query: str = "", body: bytes = b""
    ) -> Answer | None:
        path, name = self._path + quote(key, safe="/~"), self._host.name
        request = f"{method}\n{path}\n{query}"
        own = signed(request, name, headers, self._provide(), self._region)
        return self._host.ask(method, f"{path}?{query}" if query else path, own, body)


def _piece(key: str, answer: Answer) -> Piece:
    headers = answer.headers
    size = headers.get("content-range", "").rpartition("/")[2] or headers["content-length"]
    if not size.isdecimal():
        raise Unavailable("What answered is not S3.", where=key)
    names = {name.removeprefix(METADATA): value for name, value in headers.items()}
    return Piece(answer.chunks, int(size), headers["etag"], crc32c_in(names))
