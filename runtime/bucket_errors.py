"""What obstore raises, as Failures: decided by exception class, HTTP status and the vendor's code.

obstore hands status and code on in its text only, where both have a fixed form.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmcloud.runtime.errors import (
    Conflict,
    CredentialsError,
    Failure,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    StoreGone,
    Throttled,
    Unavailable,
)

if TYPE_CHECKING:
    from llmcloud.runtime.bucket_api import BucketApi

STATUS = re.compile(r"non-2xx status code: (\d{3})")
ODD = re.compile(r'[Pp]ath "(.*?)"[ :]', re.DOTALL)
CODE = re.compile(r"<Code>(\w+)</Code>")

NO_BUCKET = "There is no such bucket."
NO_BUCKET_FIX = "Check the name, or make it: llmcloud buckets create {url}"

GONE = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"}
BAD_CREDENTIALS = {
    *("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed"),
    *("InvalidAuthenticationInfo", "NoAuthenticationInformation", "AuthenticationRequired"),
}
WRONG_REGION = {
    *("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
}
SKEWED = {"RequestTimeTooSkewed"}
THROTTLED = {"SlowDown", "ServerBusy", "RequestLimitExceeded", "TooManyRequests", "Throttling"}
# Answers of 4xx that another try may not get: bytes came damaged, late or not all.
PASSING = {
    *("BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody", "RequestTimeout"),
    *("Md5Mismatch", "Crc64Mismatch"),
}


class PastEnd(InvalidRequest):
    """A range begins at or behind the end of the object."""


def translate(error: Exception, key: str, api: BucketApi) -> Failure:
    """Return the Failure that an exception of obstore's stands for."""
    from obstore import exceptions as known

    text = str(error)
    found = STATUS.search(text)
    status = int(found[1]) if found else 0
    found = CODE.search(text)
    code = found[1] if found else ""
    where = f"{api.url}, {key}" if key else api.url
    if code in GONE:
        return gone(api.url)
    if code in BAD_CREDENTIALS or status == 401 or isinstance(error, known.UnauthenticatedError):
        return bad_credentials(api, code)
    if code in WRONG_REGION or status == 301:
        return wrong_region(api.url)
    if code in SKEWED:
        return CredentialsError(
            "This machine's clock is too far from the store's.", where=where, fix="Set the clock."
        )
    if isinstance(error, FileNotFoundError):
        return NotFound("There is no such object.", where=where)
    if isinstance(error, known.AlreadyExistsError):
        return Conflict("The object exists already.", where=where)
    if isinstance(error, known.PreconditionError):
        return Conflict("The object is no longer what was read.", where=where)
    if status == 403 or isinstance(error, known.PermissionDeniedError):
        return PermissionDenied(
            f"The store does not permit this{f' ({code})' if code else ''}.",
            where=where,
            fix="Ask who owns the bucket to let you read and write it, or use another identity.",
        )
    if status == 429 or code in THROTTLED or status == 503:
        return Throttled(f"The store asks for patience ({code or status}).", where=where)
    if isinstance(error, known.InvalidPathError | ValueError):
        named = ODD.search(text)
        return InvalidRequest(
            "A name in it can't be handled: it has an odd part.",
            where=f"{api.url}, {named[1]!r}" if named else where,
            fix="Rename or delete it with the cloud's own tools.",
        )
    if status == 416:
        return PastEnd("The object is shorter than that.", where=where)
    if 400 <= status < 500 and status != 408 and code not in PASSING:
        return InvalidRequest(f"The store refused the request ({code or status}).", where=where)
    reason = code or _reason(text)
    return Unavailable(f"The store did not answer as it should: {reason}.", where=where)


def gone(url: str) -> StoreGone:
    """Return what to raise for a bucket that is not there."""
    return StoreGone(NO_BUCKET, where=url, fix=NO_BUCKET_FIX.format(url=url))


def bad_credentials(api: BucketApi, code: str = "") -> CredentialsError:
    """Return what to raise for credentials that are missing, wrong or expired."""
    expired = "Expired" in code
    what = "have expired" if expired else f"are not valid{f' ({code})' if code else ''}"
    return CredentialsError(f"The credentials {what}.", where=api.url, fix=api.credentials_fix)


def wrong_region(url: str) -> InvalidRequest:
    """Return what to raise for a bucket in another region than it was looked for in."""
    return InvalidRequest(
        "The bucket lies in another region.",
        where=url,
        fix="llmcloud buckets list shows its region; set it as AWS_REGION.",
    )


def not_as_sent(url: str, key: str) -> Conflict:
    """Return what to raise for an object that has another digest than its parts together."""
    return Conflict(
        "The object is not what was sent: its digest is another.",
        where=f"{url}, {key}",
        fix="Send it again.",
    )


def _reason(text: str) -> str:
    """Return the first line of what obstore says, without what it says for its own developers."""
    line = text.split("\n", 1)[0].split(" - ", 1)[-1]
    return line.strip().rstrip(".:")[:200]
