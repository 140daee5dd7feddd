"""Signatures of requests to AWS: Signature V4, in a header.

As in docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. The SDK signs as well,
but a node has none, and importing it takes as long as downloading hundreds of megabytes.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
S3 = "s3"


@dataclass(frozen=True)
class Scope:
    """What a signature is good for; only S3 takes bodies that are not signed."""

    region: str
    service: str = S3
    body_sha256: str = UNSIGNED


def signed(
    request: str, host: str, headers: Mapping[str, str], keys: Mapping[str, Any], scope: Scope
) -> dict[str, str]:
    """Return the headers that a request needs beside its `Host`: the given ones and a signature.

    `request` is method, path and query, a line each: percent-encoded, the query in the order of
    its names. Names of headers are in small letters. `keys` are as obstore has them.
    """
    at = _timestamp(int(time.time()))
    named_scope = f"{at[:8]}/{scope.region}/{scope.service}/aws4_request"
    own = {**headers, "x-amz-content-sha256": scope.body_sha256, "x-amz-date": at}
    if token := keys.get("token"):
        own["x-amz-security-token"] = token
    named = sorted({"host": host, **own}.items())
    names = ";".join(name for name, _ in named)
    lines = "".join(f"{name}:{value}\n" for name, value in named)
    whole = sha256(f"{request}\n{lines}\n{names}\n{scope.body_sha256}".encode()).hexdigest()
    text = f"{ALGORITHM}\n{at}\n{named_scope}\n{whole}"
    key = _key(keys["secret_access_key"], at[:8], scope.region, scope.service)
    signature = _hmac(key, text).hex()
    credential = f"{keys['access_key_id']}/{named_scope}"
    own["authorization"] = (
        f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    )
    return own


@lru_cache(maxsize=1)
def _timestamp(seconds: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


@lru_cache(maxsize=4)
def _key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in (day, region, service, "aws4_request"):
        key = _hmac(key, step)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
