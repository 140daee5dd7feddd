"""Our signature against that of Azure's own SDK."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from urllib.parse import quote

from azure.core.pipeline.transport import HttpRequest
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.providers.azure.signature import authorization

WORDS = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=20)
NAMES = ["range", "if-match", "content-md5", "content-length", "x-ms-version", "x-ms-date"]


@given(
    method=st.sampled_from(["GET", "PUT"]),
    key=st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=1),
    secret=st.binary(min_size=1).map(lambda data: base64.b64encode(data).decode()),
    block=st.none() | st.binary(min_size=1),
    headers=st.dictionaries(st.sampled_from(NAMES), WORDS.filter(lambda word: word != "0")),
)
def test_the_sdk_signs_alike(
    method: str, key: str, secret: str, block: bytes | None, headers: dict[str, str]
) -> None:
    path, query = "/account/box/" + quote(key), ""
    if block is not None:
        query = f"blockid={quote(base64.b64encode(block), safe='')}&comp=block"
    ours = authorization(f"{method}\n{path}\n{query}", headers, "account", secret)
    assert ours == _sdks(HttpRequest(method, _url(path, query), headers), secret)


def _sdks(request: HttpRequest, secret: str) -> str:
    """Return the SDK's `Authorization`; it looks for the range under a name of its own."""
    if found := request.headers.pop("range", None):
        request.headers["byte_range"] = found
    asked = SimpleNamespace(http_request=request, context=SimpleNamespace(transport=None))
    SharedKeyCredentialPolicy("account", secret).on_request(asked)
    return request.headers["Authorization"]


def _url(path: str, query: str) -> str:
    return f"https://account.blob.core.windows.net{path}" + (f"?{query}" if query else "")
