"""Where a bucket lies: S3 tells anyone, in a header, of any bucket of its partition."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request

HEADER = "x-amz-bucket-region"
TIMEOUT_S = 10


def region_of(url: str, authority: bytes | None = None) -> str | None:
    """Ask a bucket's URL without credentials; None when it does not answer so.

    The answer may be that the bucket is elsewhere (301) or none of our business (403).
    """
    trust = ssl.create_default_context() if url.startswith("https:") else None
    if trust and authority:
        trust.load_verify_locations(cadata=authority.decode())
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the URL is ours
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trust) as found:  # noqa: S310
            return found.headers[HEADER] or None
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.headers[HEADER] or None
    except OSError:
        return None
