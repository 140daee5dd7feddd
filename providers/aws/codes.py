"""What the codes of AWS and its SDK's exceptions mean."""

from __future__ import annotations

from llmcloud.core.meaning import CHANGED, DAMAGED, GONE, NO_OBJECT, NO_UPLOAD, NOT_EMPTY, Meaning
from llmcloud.runtime.errors import (
    Conflict,
    CredentialsError,
    InvalidRequest,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Unavailable,
)

NO_CREDENTIALS_FIX = (
    "aws configure, or aws sso login, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
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
REFUSED = Meaning(InvalidRequest, "S3 refused the request ({code}).")
FAILED = Meaning(Unavailable, "S3 did not answer as it should ({code}).")
_NOT_S3 = Meaning(Unavailable, "What answered is not S3, or was garbled.")
_LACKING = Meaning(Conflict, "The upload lacks a part that was sent ({code}).")

CODES: dict[str, Meaning] = {
    "NoSuchBucket": GONE,
    "NoSuchKey": NO_OBJECT,
    "NoSuchUpload": NO_UPLOAD,
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
    "BucketNotEmpty": NOT_EMPTY,
    "PreconditionFailed": CHANGED,
    "ConditionalRequestConflict": CHANGED,
    "412": CHANGED,
    "BadDigest": DAMAGED,
    "InvalidDigest": DAMAGED,
    "XAmzContentChecksumMismatch": DAMAGED,
    "IncompleteBody": DAMAGED,
    "InvalidPart": _LACKING,
    "InvalidPartOrder": _LACKING,
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
    "RequestTimeout": FAILED,
    "InternalError": FAILED,
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
