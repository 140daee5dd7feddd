"""Our signature against that of the AWS SDK itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.runtime.aws_signature import Scope, signed

if TYPE_CHECKING:
    from obstore.store import S3Credential

HOST = "bucket.s3.eu-west-1.amazonaws.com"
WORDS = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=20)


@given(
    key=st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=1),
    secret=WORDS,
    token=st.none() | WORDS,
    query=st.sampled_from(["", "partNumber=12&uploadId=a~b_c-d.e"]),
    headers=st.dictionaries(st.sampled_from(["range", "if-match", "x-amz-meta-a"]), WORDS),
)
def test_the_sdk_signs_alike(
    key: str, secret: str, token: str | None, query: str, headers: dict[str, str]
) -> None:
    keys: S3Credential = {"access_key_id": "AKID", "secret_access_key": secret, "token": token}
    path = "/" + quote(key, safe="/~")
    ours = signed(f"PUT\n{path}\n{query}", HOST, headers, keys, Scope("eu-west-1"))
    assert ours["authorization"] == _sdks(path, query, headers | ours, keys)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_each_region_has_its_own(region: str) -> None:
    keys: S3Credential = {"access_key_id": "AKID", "secret_access_key": "secret"}
    assert f"/{region}/s3/" in signed("GET\n/a\n", HOST, {}, keys, Scope(region))["authorization"]


def _sdks(path: str, query: str, headers: dict[str, str], keys: Any) -> str:
    """Return the SDK's `Authorization` of a request at the same time."""
    said = Credentials(keys["access_key_id"], keys["secret_access_key"], keys["token"])
    auth = S3SigV4Auth(said, "s3", "eu-west-1")
    sent = {name: value for name, value in headers.items() if name != "authorization"}
    url = f"https://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method="PUT", url=url, headers=sent)
    request.context["timestamp"] = sent["x-amz-date"]
    request.context["payload_signing_enabled"] = False
    text = auth.string_to_sign(request, auth.canonical_request(request))
    names = auth.signed_headers(auth.headers_to_sign(request))
    scope = auth.scope(request)
    return (
        f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, "
        f"Signature={auth.signature(text, request)}"
    )
