"""Bulk bytes of a bucket by connection.py: what is the same in all clouds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from llmcloud.core.connection import Host
from llmcloud.runtime.bucket_api import CRC32C, crc32c_in
from llmcloud.runtime.errors import Unavailable
from llmcloud.runtime.objects import Piece

if TYPE_CHECKING:
    from llmcloud.core.connection import Answer, Waits


class ShortWay(ABC):
    """One bucket, by its URL; what can't be had this way is None."""

    metadata: str  # how the headers of an object's metadata begin

    def __init__(self, url: str, authority: bytes | None, waits: Waits) -> None:
        self.host = Host(url, authority, waits)
        self._path = urlsplit(url).path

    @abstractmethod
    def authorized(self, request: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Return a request and its headers with all that the service wants of both.

        `request` is method, path and query, a line each, percent-encoded.
        """

    def piece(self, key: str, start: int, size: int, version: str) -> Piece | None:
        """Return a range of one version of an object, or all of it for a `size` of 0."""
        headers = {"range": f"bytes={start}-{start + size - 1}"} if size else {}
        if version:
            headers["if-match"] = version
        answer = self.ask("GET", key, headers)
        return self._piece(key, answer) if answer else None

    def ask(
        self, method: str, key: str, headers: dict[str, str], query: str = "", body: bytes = b""
    ) -> Answer | None:
        """Return the answer to a request about an object."""
        request = f"{method}\n{self._path}/{quote(key)}\n{query}"
        request, headers = self.authorized(request, headers)
        method, path, query = request.split("\n")
        return self.host.ask(method, f"{path}?{query}" if query else path, headers, body)

    def kept(self, headers: dict[str, str]) -> int | None:
        """Return the digest of the whole object that the headers of an answer tell."""
        return crc32c_in({CRC32C: headers.get(self.metadata + CRC32C, "")})

    def _piece(self, key: str, answer: Answer) -> Piece:
        headers = answer.headers
        size = headers.get("content-range", "").rpartition("/")[2] or headers["content-length"]
        if not size.isdecimal():
            raise Unavailable("Something else than the store answered.", where=key)
        return Piece(answer.chunks, int(size), headers["etag"], self.kept(headers))
