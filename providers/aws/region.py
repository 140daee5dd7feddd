"""Where a bucket lies: S3 tells anyone, in a header, of any bucket of its partition."""

from __future__ import annotations

from llmcloud.core.connection import trust

HEADER = "x-amz-bucket-region"
TIMEOUT_S = 10


def region_of(url: str, authority: bytes | None = None) -> str | None:
    """Ask a bucket's URL without credentials; None when it does not answer so.

    The answer may be that the bucket is elsewhere (301) or none of our business (403).
    """
    import urllib.error  # no other S3 than AWS's own is asked
    import urllib.request

    tls = trust(authority) if url.startswith("https:") else None
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the URL is ours
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=tls) as found:  # noqa: S310
            return found.headers[HEADER] or None
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.headers[HEADER] or None
    except OSError:
        return None
