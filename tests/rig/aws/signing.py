"""Whether a request was signed by whoever says so, by the SDK's own arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from tests.rig.aws.call import Call


def is_right(call: Call, secret: str, token: str | None) -> bool:
    """Tell whether a call's Authorization header is what this secret makes of the request."""
    sent = call.sent
    said = dict(
        each.strip().split("=", 1)
        for each in sent.headers["authorization"].partition(" ")[2].split(",")
    )
    query = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(sent.query))
    request = AWSRequest(
        method=sent.verb,
        url=f"http://{sent.headers['host']}{sent.path}?{query}",
        data=call.body,
        headers={name: sent.headers.get(name, "") for name in said["SignedHeaders"].split(";")},
    )
    request.context["timestamp"] = sent.headers["x-amz-date"]
    kind = S3SigV4Auth if call.service == "s3" else SigV4Auth
    signer = kind(Credentials(call.scope.key, secret, token), call.service, call.region)
    if digest := sent.headers.get("x-amz-content-sha256"):  # it need not be signed itself
        signer.payload = lambda _: digest
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return bool(signer.signature(text, request) == said["Signature"])


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
