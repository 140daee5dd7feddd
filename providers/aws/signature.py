"""Signatures of requests to S3 that have no body, or one that is not signed: AWS Signature V4.

As in docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. The SDK signs as well,
but importing it takes as long as downloading hundreds of megabytes.
"""

from __future__ import annotations

import hmac
import time
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import S3Credential

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"


def signed(
    request: str, host: str, headers: Mapping[str, str], keys: S3Credential, region: str
) -> dict[str, str]:
    """Return the headers that a request needs beside its `Host`: the given ones and a signature.

    `request` is method, path and query, a line each: percent-encoded, the query in the order of
    its names. Names of headers are in small letters.
    """
    at = _timestamp(int(time.time()))
    scope = f"{at[:8]}/{region}/s3/aws4_request"
    own = {**headers, "x-amz-content-sha256": UNSIGNED, "x-amz-date": at}
    if token := keys.get("token"):
        own["x-amz-security-token"] = token
    named = sorted({"host": host, **own}.items())
    names = ";".join(name for name, _ in named)
    lines = "".join(f"{name}:{value}\n" for name, value in named)
    whole = sha256(f"{request}\n{lines}\n{names}\n{UNSIGNED}".encode()).hexdigest()
    text = f"{ALGORITHM}\n{at}\n{scope}\n{whole}"
    key = _key(keys["secret_access_key"], at[:8], region)
    signature = _hmac(key, text).hex()
    credential = f"{keys['access_key_id']}/{scope}"
    own["authorization"] = (
        f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    )
    return own


@lru_cache(maxsize=1)
def _timestamp(seconds: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


@lru_cache(maxsize=4)
def _key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in (day, region, "s3", "aws4_request"):
        key = _hmac(key, step)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
