"""What AWS and its SDK raise, as Failures: decided by code and exception class."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from llmcloud.runtime.errors import (
    Conflict,
    CredentialsError,
    Failure,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    StoreGone,
    Throttled,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_CREDENTIALS_FIX = (
    "aws configure, or aws sso login, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
)


class Meaning(NamedTuple):
    """What a code says; `what` may name the code as {code}, `fix` the bucket's URL as {url}."""

    kind: type[Failure]
    what: str
    fix: str = ""


_GONE = Meaning(
    StoreGone,
    "There is no such bucket (any more).",
    "Make it with: llmcloud buckets create {url}. What was only in it is gone.",
)
_EXPIRED = Meaning(CredentialsError, "The AWS credentials have expired.", NO_CREDENTIALS_FIX)
_BAD_KEY = Meaning(
    CredentialsError, "The AWS credentials are not valid ({code}).", NO_CREDENTIALS_FIX
)
_DENIED = Meaning(
    PermissionDenied,
    "AWS does not permit this ({code}).",
    "Ask the account's administrator to allow {operation}, or use another profile (AWS_PROFILE).",
)
_ELSEWHERE = Meaning(
    InvalidRequest,
    "The bucket lies in another region.",
    "llmcloud buckets list shows its region; set it as AWS_REGION.",
)
_SLOW = Meaning(Throttled, "S3 asks for patience ({code}).")
_FAILED = Meaning(Unavailable, "S3 did not answer as it should ({code}).")
_NO_KEY = Meaning(NotFound, "There is no such object.")
_NO_UPLOAD = Meaning(NotFound, "The upload is no more.")
_CHANGED = Meaning(Conflict, "The object is no longer what was read.")
_NOT_S3 = Meaning(Unavailable, "What answered is not S3, or was garbled.")
_DAMAGED = Meaning(Unavailable, "Bytes were damaged on their way ({code}).")

CODES: dict[str, Meaning] = {
    "NoSuchBucket": _GONE,
    "NoSuchKey": _NO_KEY,
    "NoSuchUpload": _NO_UPLOAD,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "InvalidToken": _BAD_KEY,
    "InvalidAccessKeyId": _BAD_KEY,
    "SignatureDoesNotMatch": _BAD_KEY,
    "NotSignedUp": _BAD_KEY,
    "RequestTimeTooSkewed": Meaning(
        CredentialsError, "This machine's clock is too far from AWS's.", "Set the clock."
    ),
    "AccessDenied": _DENIED,
    "AccessDeniedException": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "403": _DENIED,
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "301": _ELSEWHERE,
    "IllegalLocationConstraintException": Meaning(
        InvalidRequest,
        "This endpoint can't make a bucket in that region.",
        "Name the endpoint's own region with --region, or unset AWS_ENDPOINT_URL.",
    ),
    "InvalidLocationConstraint": Meaning(
        InvalidRequest,
        "There is no such region, or the account has not enabled it.",
        "aws account list-regions shows those enabled; name one with --region.",
    ),
    "BucketAlreadyExists": Meaning(
        Conflict,
        "The name belongs to someone else's bucket: names are unique among all of AWS's customers.",
        "Choose another name, e.g. with your organisation's in it.",
    ),
    "BucketAlreadyOwnedByYou": Meaning(
        Conflict,
        "You have a bucket of this name in another region.",
        "Leave out --region to use it, or choose another name.",
    ),
    "InvalidBucketName": Meaning(
        InvalidRequest,
        "S3 does not accept this name of a bucket.",
        "3 to 63 small letters, digits and hyphens, with a letter or digit at both ends.",
    ),
    "TooManyBuckets": Meaning(
        QuotaExceeded,
        "The account has as many buckets as it may have.",
        "Delete one with llmcloud buckets delete, or raise the quota in Service Quotas.",
    ),
    "OperationAborted": Meaning(
        Unavailable,
        "S3 is still making or deleting a bucket of this name.",
        "Try again later: a name may take an hour to be free.",
    ),
    "BucketNotEmpty": Meaning(
        Conflict,
        "The bucket is not empty.",
        "Add --force to delete all that is in it, old versions too.",
    ),
    "PreconditionFailed": _CHANGED,
    "ConditionalRequestConflict": _CHANGED,
    "412": _CHANGED,
    "BadDigest": _DAMAGED,
    "InvalidDigest": _DAMAGED,
    "XAmzContentChecksumMismatch": _DAMAGED,
    "IncompleteBody": _DAMAGED,
    "InvalidPart": Meaning(Conflict, "The upload lacks a part that was sent ({code})."),
    "InvalidPartOrder": Meaning(Conflict, "The upload lacks a part that was sent ({code})."),
    "EntityTooSmall": Meaning(Conflict, "A part of the upload is smaller than S3 takes."),
    "EntityTooLarge": Meaning(InvalidRequest, "The object is larger than S3 takes."),
    "SlowDown": _SLOW,
    "Throttling": _SLOW,
    "ThrottlingException": _SLOW,
    "RequestLimitExceeded": _SLOW,
    "TooManyRequests": _SLOW,
    "ServiceUnavailable": _SLOW,
    "503": _SLOW,
    "429": _SLOW,
    "RequestTimeout": _FAILED,
    "InternalError": _FAILED,
}

# What the SDK raises by itself, by the name of its class or the nearest of its bases.
CLASSES: dict[str, Meaning] = {
    "NoCredentialsError": Meaning(
        CredentialsError, "There are no AWS credentials.", NO_CREDENTIALS_FIX
    ),
    "PartialCredentialsError": Meaning(
        CredentialsError, "Half of the AWS credentials is missing.", NO_CREDENTIALS_FIX
    ),
    "CredentialRetrievalError": Meaning(
        CredentialsError, "The AWS credentials can't be had: {error}.", NO_CREDENTIALS_FIX
    ),
    "MetadataRetrievalError": Meaning(
        CredentialsError, "The AWS credentials can't be had: {error}.", NO_CREDENTIALS_FIX
    ),
    "TokenRetrievalError": Meaning(
        CredentialsError, "The AWS sign-in has expired.", "aws sso login, or aws login."
    ),
    "SSOError": Meaning(CredentialsError, "The AWS sign-in has expired.", "aws sso login"),
    "LoginError": Meaning(CredentialsError, "The AWS sign-in has expired.", "aws login"),
    "ProfileNotFound": Meaning(
        CredentialsError, "There is no such AWS profile.", "aws configure list-profiles"
    ),
    "ConfigParseError": Meaning(
        InvalidRequest, "The AWS config file can't be read.", "Mend ~/.aws/config."
    ),
    "InvalidConfigError": Meaning(
        InvalidRequest, "The AWS config file is wrong: {error}.", "Mend ~/.aws/config."
    ),
    "ParamValidationError": Meaning(
        InvalidRequest,
        "S3 does not accept such a name.",
        "3 to 63 small letters, digits and hyphens, with a letter or digit at both ends.",
    ),
    "InvalidRegionError": Meaning(
        InvalidRequest, "This is no name of an AWS region.", "Write it like us-east-1."
    ),
    "BaseEndpointResolverError": Meaning(
        InvalidRequest, "There is no S3 in this region.", "Set AWS_REGION, e.g. to us-east-1."
    ),
    "EndpointConnectionError": Meaning(
        Unavailable, "S3 can't be reached.", "Check the network, and AWS_ENDPOINT_URL if it is set."
    ),
    "SSLError": Meaning(
        Unavailable,
        "S3's certificate is not trusted here.",
        "Set AWS_CA_BUNDLE to the certificates of the authority that signed it.",
    ),
    "ResponseParserError": _NOT_S3,
    "KeyError": _NOT_S3,
    "HTTPClientError": Meaning(Unavailable, "The connection to S3 broke: {code}."),
}


@contextlib.contextmanager
def translated(url: str, key: str = "") -> Iterator[None]:
    """Raise a Failure for whatever the SDK raises in the block, or an answer lacks."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError, KeyError) as error:
        raise translate(error, url, key) from error


def translate(error: Any, url: str, key: str = "") -> Failure:
    """Return the Failure that an exception of the SDK's stands for."""
    if response := getattr(error, "response", None):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return failure(code_of(error), url, key, f"s3:{error.operation_name}", status)
    known = (CLASSES.get(base.__name__) for base in type(error).__mro__)
    meaning = next(filter(None, known), Meaning(Unavailable, "The AWS SDK failed: {error}."))
    return _made(meaning, url, key, code=type(error).__name__, error=str(error).rstrip("."))


def failure(code: str, url: str, key: str, operation: str, status: int = 0) -> Failure:
    """Return the Failure that a code stands for, or else the status of its answer."""
    meaning = CODES.get(code) or CODES.get(str(status))
    if meaning is None and status == 404:
        meaning = _NO_KEY
    elif meaning is None and 400 <= status < 500:
        meaning = Meaning(InvalidRequest, "S3 refused the request ({code}).")
    return _made(meaning or _FAILED, url, key, code=code or status, operation=operation)


def code_of(error: Any) -> str:
    """Return the code of an answer of the service's."""
    return str(error.response["Error"].get("Code", ""))


def _made(meaning: Meaning, url: str, key: str, **said: object) -> Failure:
    where = f"{url}, {key}" if key else url
    what, fix = meaning.what.format(**said), meaning.fix.format(url=url, **said)
    return meaning.kind(what, where=where, fix=fix)
