"""Bytes from Cloud Storage by the short way of core/connection.py."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from llmcloud.core.short_way import ShortWay
from llmcloud.core.transfer.crc32c import from_base64
from llmcloud.runtime.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.providers.gcp.credentials import Account

HASH = "x-goog-hash"


class Direct(ShortWay):
    """One bucket; what can't be had this way is None."""

    metadata = "x-goog-meta-"

    def __init__(self, account: Account, name: str) -> None:
        super().__init__(f"{account.endpoint}/{quote(name)}", None, account.waits)
        self._payer, self._provide = account.payer, account.provider()

    def crc32c(self, key: str) -> int | None:
        """Return the digest that Google itself keeps with an object."""
        answer = self.ask("HEAD", key, {})
        return own_crc32c(answer.headers) if answer else None

    def kept(self, headers: dict[str, str]) -> int | None:
        said = super().kept(headers)
        return own_crc32c(headers) if said is None else said

    def authorized(self, request: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        headers["authorization"] = f"Bearer {self._provide()['token']}"
        headers["accept-encoding"] = "gzip"  # else Google unpacks what is stored packed
        if self._payer:
            headers["x-goog-user-project"] = self._payer
        return request, headers


def own_crc32c(headers: Mapping[str, str]) -> int | None:
    """Return the digest of Google's own that an answer tells of the whole object."""
    pairs = (each.strip().partition("=") for each in headers.get(HASH, "").split(","))
    found = next((digest for kind, _, digest in pairs if kind == "crc32c"), None)
    try:
        return from_base64(found) if found else None
    except ValueError as error:
        raise Unavailable("What answered is not Cloud Storage, or was garbled.") from error
