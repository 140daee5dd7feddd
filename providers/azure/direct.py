"""Bytes from Azure Blob by the short way of core/connection.py."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from llmcloud.core.short_way import ShortWay
from llmcloud.providers.azure.signature import authorization

if TYPE_CHECKING:
    from llmcloud.providers.azure.credentials import Account

VERSION = "2023-11-03"  # as obstore's


class Direct(ShortWay):
    """One container; what can't be had this way is None."""

    metadata = "x-ms-meta-"

    def __init__(self, account: Account, name: str) -> None:
        super().__init__(f"{account.endpoint}/{quote(name)}", account.authority, account.waits)
        self._account, self._provide = account.name, account.provider()

    def authorized(self, request: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        found: Any = self._provide()
        headers["x-ms-version"] = VERSION
        headers["x-ms-date"] = formatdate(usegmt=True)
        if "sas_token" in found:
            request += ("" if request.endswith("\n") else "&") + quote(found["sas_token"], "%=&")
        elif "token" in found:
            headers["authorization"] = f"Bearer {found['token']}"
        else:
            key = found["access_key"]
            headers["authorization"] = authorization(request, headers, self._account, key)
        return request, headers
