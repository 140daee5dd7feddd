"""What the codes, reasons and statuses of Google and its SDK's exceptions mean.

The JSON interface names reasons, the XML interface codes; one table has both.
"""

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
    "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to a key or a"
    " configuration of workload identity federation."
)
NO_PROJECT_FIX = "Set GOOGLE_CLOUD_PROJECT, or: gcloud config set project PROJECT"

_BAD_TOKEN = Meaning(
    CredentialsError, "Google does not accept the credentials ({code}).", NO_CREDENTIALS_FIX
)
_DENIED = Meaning(
    PermissionDenied,
    "Google does not permit this ({code}).",
    "Ask the project's administrator for a role with {needs}, or use another identity"
    " (GOOGLE_APPLICATION_CREDENTIALS).",
)
_SCOPES = Meaning(
    PermissionDenied,
    "This machine's token is not for Cloud Storage ({code}).",
    "Give the machine the scope cloud-platform, or use another identity.",
)
_NO_BILLING = Meaning(
    PermissionDenied,
    "The project that owns the bucket has no active billing account ({code}).",
    "Link one at https://console.cloud.google.com/billing, then try again.",
)
_NO_API = Meaning(
    PermissionDenied,
    "The project has not enabled Cloud Storage ({code}).",
    "gcloud services enable storage.googleapis.com",
)
_PAYER = Meaning(
    InvalidRequest,
    "The bucket's owner has the requester pay, and no project that pays is set.",
    "Set GOOGLE_CLOUD_QUOTA_PROJECT to a project of yours.",
)
_NO_PAYER = Meaning(
    PermissionDenied,
    "The project that shall pay for requests can't be used ({code}).",
    "Set GOOGLE_CLOUD_QUOTA_PROJECT to one in which you have serviceusage.services.use.",
)
_KEPT = Meaning(
    PermissionDenied,
    "An object must be kept ({code}).",
    "It has a hold, or the bucket a retention policy: gcloud storage buckets describe {url}",
)
_NO_PROJECT = Meaning(InvalidRequest, "There is no such project: {message}.", NO_PROJECT_FIX)
_QUOTA = Meaning(
    QuotaExceeded,
    "The project's quota is used up ({code}).",
    "See https://console.cloud.google.com/iam-admin/quotas for storage.googleapis.com.",
)
_TAKEN = Meaning(
    Conflict,
    "The name belongs to someone else's bucket: names are unique among all of Google's customers.",
    "Choose another name, e.g. with your project's in it.",
)
_BUSY = Meaning(Unavailable, "Another request changes the bucket at the same time ({code}).")
REFUSED = Meaning(InvalidRequest, "Google refused the request ({code}): {message}.")
_LACKING = Meaning(Conflict, "The upload lacks a part that was sent ({code}).")
_SLOW = Meaning(Throttled, "Cloud Storage asks for patience ({code}).")
FAILED = Meaning(Unavailable, "Cloud Storage did not answer as it should ({code}).")

CODES: dict[str, Meaning] = {
    # The XML interface's codes…
    "NoSuchBucket": GONE,
    "NoSuchKey": NO_OBJECT,
    "NoSuchUpload": NO_UPLOAD,
    "AuthenticationRequired": _BAD_TOKEN,
    "ExpiredToken": _BAD_TOKEN,
    "InvalidSecurity": _BAD_TOKEN,
    "AccessDenied": _DENIED,
    "InsufficientQuota": _QUOTA,
    "AccountProblem": _NO_BILLING,
    "UserProjectAccountProblem": _NO_PAYER,
    "UserProjectAccessDenied": _NO_PAYER,
    "UserProjectMissing": _PAYER,
    "BucketAlreadyExists": _TAKEN,
    "BucketNameUnavailable": _TAKEN,
    "BucketNotEmpty": NOT_EMPTY,
    "PreconditionFailed": CHANGED,
    "BadDigest": DAMAGED,
    "CrcMismatch": DAMAGED,
    "IncompleteBody": DAMAGED,
    "InvalidPart": _LACKING,
    "InvalidPartOrder": _LACKING,
    "EntityTooSmall": Meaning(Conflict, "A part of the upload is smaller than Google takes."),
    "EntityTooLarge": Meaning(InvalidRequest, "The object is larger than Google takes."),
    "RateLimitExceeded": _SLOW,
    "SlowDown": _SLOW,
    "ServiceUnavailable": _SLOW,
    "InternalError": FAILED,
    # …and the JSON interface's reasons.
    "authError": _BAD_TOKEN,
    "expired": _BAD_TOKEN,
    "forbidden": _DENIED,
    "insufficientPermissions": _SCOPES,
    "accountDisabled": _NO_BILLING,
    "accessNotConfigured": _NO_API,
    "retentionPolicyNotMet": _KEPT,
    "objectUnderActiveHold": _KEPT,
    "quotaExceeded": _QUOTA,
    "dailyLimitExceeded": _QUOTA,
    "conditionNotMet": CHANGED,
    "conflict": _BUSY,
    "rateLimitExceeded": _SLOW,
    "userRateLimitExceeded": _SLOW,
    "backendError": FAILED,
}
STATUSES: dict[int, Meaning] = {
    401: _BAD_TOKEN,
    403: _DENIED,
    408: FAILED,
    409: _BUSY,
    412: CHANGED,
    429: _SLOW,
    503: _SLOW,
}
# Google has one reason for all that it refuses of a new bucket.
INSERTED: dict[int, Meaning] = {
    400: Meaning(
        InvalidRequest,
        "Google makes no such bucket: {message}.",
        "Name a region like europe-west1, US or EU with --region, and a project that exists with"
        " GOOGLE_CLOUD_PROJECT.",
    ),
    404: _NO_PROJECT,
    409: _TAKEN,
    412: Meaning(
        InvalidRequest,
        "A policy of your organisation forbids such a bucket: {message}.",
        "Name a region that it allows with --region, or ask its administrator.",
    ),
}
LISTED = {400: _NO_PROJECT, 404: _NO_PROJECT}
DELETED = {409: NOT_EMPTY}

# What the SDK raises by itself, by the name of its class or the nearest of its bases.
CLASSES: dict[str, Meaning] = {
    "DefaultCredentialsError": Meaning(
        CredentialsError, "There are no Google credentials.", NO_CREDENTIALS_FIX
    ),
    "MalformedError": Meaning(
        CredentialsError, "The Google credentials can't be read.", NO_CREDENTIALS_FIX
    ),
    "RefreshError": Meaning(
        CredentialsError,
        "Google gives no token for the credentials: {message}.",
        NO_CREDENTIALS_FIX,
    ),
    "ReauthFailError": Meaning(
        CredentialsError, "The Google sign-in has expired.", "gcloud auth application-default login"
    ),
    "TransportError": Meaning(Unavailable, "Google gives no token: its server can't be reached."),
    "GoogleAuthError": Meaning(
        CredentialsError, "The Google credentials can't be used: {message}.", NO_CREDENTIALS_FIX
    ),
    "SSLError": Meaning(
        Unavailable,
        "Google's certificate is not trusted here.",
        "Set REQUESTS_CA_BUNDLE to the certificates of the authority that signed it.",
    ),
    "ProxyError": Meaning(Unavailable, "The proxy can't be reached.", "Mend HTTPS_PROXY."),
    "Timeout": Meaning(Unavailable, "Cloud Storage did not answer in time."),
    "ConnectionError": Meaning(
        Unavailable,
        "Cloud Storage can't be reached.",
        "Check the network, and STORAGE_EMULATOR_HOST if it is set.",
    ),
    "InvalidURL": Meaning(
        InvalidRequest, "This is no address of a Cloud Storage.", "Mend STORAGE_EMULATOR_HOST."
    ),
    "RequestException": Meaning(Unavailable, "The connection to Cloud Storage broke: {code}."),
}
