"""Signatures of requests to Azure Blob with the key of an account: SharedKey.

As in learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key. The SDK signs as
well, but importing it takes as long as downloading hundreds of megabytes.
"""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMED = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type"),
    *("date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)
OTHERS = "x-ms-"


def authorization(request: str, headers: Mapping[str, str], account: str, key: str) -> str:
    """Return the `Authorization` of a request.

    `request` is method, path and query, a line each: percent-encoded, the query in the order of
    its names. Names of headers are in small letters; a `content-length` of 0 is left out.
    """
    method, path, query = request.split("\n")
    named = [headers.get(name, "") for name in NAMED]
    others = [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith(OTHERS)]
    pairs = (each.partition("=") for each in query.split("&") if each)
    asked = [f"{name}:{unquote(value)}" for name, _, value in pairs]
    text = "\n".join((method, *named, *others, f"/{account}{path}", *asked))
    signature = hmac.digest(base64.b64decode(key), text.encode(), "sha256")
    return f"SharedKey {account}:{base64.b64encode(signature).decode()}"
