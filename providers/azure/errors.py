"""What Azure and its SDK raise, as Failures: decided by code and exception class."""

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
    "az login, or set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT and"
    " AZURE_STORAGE_KEY."
)
NAME_FIX = "3 to 63 small letters, digits and single hyphens, with a letter or digit at both ends."


class Meaning(NamedTuple):
    """What a code says; `what` may name the code as {code}, `fix` the URL and account by name."""

    kind: type[Failure]
    what: str
    fix: str = ""


_GONE = Meaning(
    StoreGone,
    "There is no such bucket (any more).",
    "Make it with: llmcloud buckets create {url}. What was only in it is gone.",
)
_BAD_KEY = Meaning(
    CredentialsError, "The Azure credentials are not valid ({code}).", NO_CREDENTIALS_FIX
)
_NO_KEY = Meaning(CredentialsError, "There are no Azure credentials.", NO_CREDENTIALS_FIX)
_DENIED = Meaning(
    PermissionDenied,
    "Azure does not permit this ({code}).",
    "Have the role Storage Blob Data Contributor on {account} given to you (roles take minutes to"
    " be known), or a SAS token with more permissions.",
)
_FIREWALL = Meaning(
    PermissionDenied,
    "Azure does not permit this from here ({code}).",
    "Give yourself the role Storage Blob Data Contributor on {account}, and allow this machine's"
    " address in its firewall: az storage account network-rule add --account-name {account}.",
)
_NO_KEYS = Meaning(
    PermissionDenied,
    "The account takes no keys ({code}).",
    "Unset AZURE_STORAGE_CONNECTION_STRING and AZURE_STORAGE_KEY, and sign in: az login.",
)
_SLOW = Meaning(Throttled, "Azure asks for patience ({code}).")
_FAILED = Meaning(Unavailable, "Azure did not answer as it should ({code}).")
_NO_BLOB = Meaning(NotFound, "There is no such object.")
_NO_UPLOAD = Meaning(NotFound, "The upload is no more.")
_CHANGED = Meaning(Conflict, "The object is no longer what was read.")
_DAMAGED = Meaning(Unavailable, "Bytes were damaged on their way ({code}).")
_LEASED = Meaning(
    Conflict,
    "Someone holds a lease on it ({code}).",
    "Wait for its end, or break it: az storage blob lease break (or az storage container lease).",
)
_KEPT = Meaning(
    Conflict,
    "A policy of the account forbids to change or delete it ({code}).",
    "Wait until the policy's time is over, or have it removed: az storage container"
    " immutability-policy.",
)
_IN_THE_WAY = Meaning(
    Conflict,
    "Another program's unfinished upload of this object is in the way ({code}).",
    "Write a small object under this name, which clears it, or wait a week: Azure forgets it.",
)
_NO_ACCOUNT = Meaning(
    NotFound,
    "There is no such storage account, or no name service here.",
    "az storage account create --name {account} --resource-group GROUP --allow-blob-public-access"
    " false --min-tls-version TLS1_2",
)

CODES: dict[str, Meaning] = {
    "ContainerNotFound": _GONE,
    "ContainerBeingDeleted": Meaning(
        StoreGone,
        "The bucket is being deleted.",
        "Azure frees its name after half a minute or more; until then use another.",
    ),
    "ContainerDisabled": Meaning(
        PermissionDenied, "Azure has disabled the bucket.", "Ask Azure's support why."
    ),
    "ContainerAlreadyExists": Meaning(Conflict, "The bucket exists already."),
    "BlobNotFound": _NO_BLOB,
    "ResourceNotFound": _NO_BLOB,
    "InvalidBlockList": _NO_UPLOAD,
    "AuthenticationFailed": _BAD_KEY,
    "InvalidAuthenticationInfo": _BAD_KEY,
    "NoAuthenticationInformation": _BAD_KEY,
    "ResourceTypeMismatch": Meaning(
        Conflict, "Under this name lies a folder of a hierarchical account.", "Use another name."
    ),
    "AuthorizationFailure": _FIREWALL,
    "KeyBasedAuthenticationNotPermitted": _NO_KEYS,
    "AuthorizationPermissionMismatch": _DENIED,
    "AuthorizationProtocolMismatch": _DENIED,
    "AuthorizationResourceTypeMismatch": _DENIED,
    "AuthorizationServiceMismatch": _DENIED,
    "AuthorizationSourceIPMismatch": _FIREWALL,
    "InsufficientAccountPermissions": _DENIED,
    "UnauthorizedBlobOverwrite": _DENIED,
    "PublicAccessNotPermitted": _DENIED,
    "AccountIsDisabled": Meaning(
        PermissionDenied,
        "The storage account is disabled.",
        "Look at the subscription's state: az account show.",
    ),
    "InvalidResourceName": Meaning(
        InvalidRequest, "Azure does not accept this name of a bucket or object.", NAME_FIX
    ),
    "OutOfRangeInput": Meaning(
        InvalidRequest, "Azure does not accept this name of a bucket or object.", NAME_FIX
    ),
    "InvalidUri": Meaning(
        InvalidRequest, "Azure does not accept this name of a bucket or object.", NAME_FIX
    ),
    "InvalidMetadata": Meaning(
        InvalidRequest,
        "Azure does not accept such a tag.",
        "Letters, digits and underscores, no digit first; ASCII in its value.",
    ),
    "MetadataTooLarge": Meaning(InvalidRequest, "The tags are larger than 8 KiB.", "Have fewer."),
    "ConditionNotMet": _CHANGED,
    "BlobOverwritten": _CHANGED,
    "TargetConditionNotMet": _CHANGED,
    "BlobAlreadyExists": Meaning(Conflict, "The object exists already."),
    "InvalidBlobOrBlock": _IN_THE_WAY,
    "BlockCountExceedsLimit": _IN_THE_WAY,
    "InvalidBlobType": Meaning(
        Conflict, "Under this name lies an append or page blob.", "Delete it, or use another name."
    ),
    "SnapshotsPresent": Meaning(
        Conflict, "The object has snapshots.", "Delete them: az storage blob delete."
    ),
    "LeaseIdMissing": _LEASED,
    "LeaseIdMismatchWithBlobOperation": _LEASED,
    "LeaseIdMismatchWithContainerOperation": _LEASED,
    "BlobImmutableDueToPolicy": _KEPT,
    "ContainerImmutableDueToPolicy": _KEPT,
    "BlobImmutableDueToLegalHold": _KEPT,
    "BlobArchived": Meaning(
        Conflict,
        "The object is archived.",
        "az storage blob set-tier --tier Hot, and wait for some hours.",
    ),
    "BlobBeingRehydrated": Meaning(
        Conflict, "The object is still being taken from the archive.", "Try again in some hours."
    ),
    "Md5Mismatch": _DAMAGED,
    "InvalidMd5": _DAMAGED,
    "RequestBodyTooLarge": Meaning(InvalidRequest, "The object is larger than Azure takes."),
    "ServerBusy": _SLOW,
    "OperationTimedOut": _SLOW,
    "TooManyRequests": _SLOW,
    "503": _SLOW,
    "429": _SLOW,
    "401": _BAD_KEY,
    "403": _DENIED,
    "412": _CHANGED,
    "InternalError": _FAILED,
    "AccountBeingCreated": Meaning(
        Unavailable, "The storage account is still being made.", "Try again in a minute."
    ),
    # Of the Resource Manager
    "ResourceGroupNotFound": Meaning(
        NotFound, "There is no such resource group.", "az group list shows them."
    ),
    "SubscriptionNotFound": Meaning(
        NotFound, "There is no such subscription.", "az account list; set AZURE_SUBSCRIPTION_ID."
    ),
    "InvalidSubscriptionId": Meaning(
        InvalidRequest, "This is no subscription's id.", "az account list; set it."
    ),
    "AuthorizationFailed": Meaning(
        PermissionDenied,
        "Azure does not permit this ({code}).",
        "Have the role Storage Account Contributor on {account} given to you.",
    ),
    "LinkedAuthorizationFailed": Meaning(
        PermissionDenied,
        "Azure does not permit this ({code}).",
        "Have the role Storage Account Contributor on {account} given to you.",
    ),
    "RequestDisallowedByPolicy": Meaning(
        PermissionDenied,
        "A policy of your organisation forbids this.",
        "az policy assignment list shows which; ask its owner.",
    ),
    "ScopeLocked": Meaning(
        Conflict, "A lock forbids to change the account.", "az lock list shows it."
    ),
    "ExpiredAuthenticationToken": _BAD_KEY,
    "InvalidAuthenticationToken": _BAD_KEY,
    "InvalidAuthenticationTokenTenant": _BAD_KEY,
    "MaxStorageAccountsCountPerSubscriptionExceeded": Meaning(
        QuotaExceeded,
        "The subscription has as many storage accounts as it may have.",
        "Use one that there is: az storage account list.",
    ),
}

# What the SDK raises by itself, by the name of its class or the nearest of its bases.
CLASSES: dict[str, Meaning] = {
    "CredentialUnavailableError": _NO_KEY,
    "UnicodeDecodeError": Meaning(Unavailable, "What answered is not Azure, or was garbled."),
    "ClientAuthenticationError": Meaning(
        CredentialsError, "The Azure credentials can't be had: {error}.", NO_CREDENTIALS_FIX
    ),
    "AzureSigningError": Meaning(
        CredentialsError, "The account's key is not valid: it is not base64.", NO_CREDENTIALS_FIX
    ),
    "NameResolutionError": _NO_ACCOUNT,
    "SSLError": Meaning(
        Unavailable,
        "Azure's certificate is not trusted here.",
        "Set REQUESTS_CA_BUNDLE to the certificates of the authority that signed it.",
    ),
    "ServiceRequestError": Meaning(
        Unavailable,
        "Azure can't be reached.",
        "Check the network, and AZURE_STORAGE_SERVICE_ENDPOINT if it is set.",
    ),
    "AzureError": Meaning(Unavailable, "The connection to Azure broke: {class}."),
}


@contextlib.contextmanager
def translated(url: str, key: str = "") -> Iterator[None]:
    """Raise a Failure for whatever the SDK raises in the block."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except (AzureError, UnicodeDecodeError) as error:
        raise translate(error, url, key) from error


def translate(error: Any, url: str, key: str = "") -> Failure:
    """Return the Failure that an exception of the SDK's stands for."""
    where = f"{url}, {key}" if key else url
    said = {
        "url": url,
        "account": url.removeprefix("az://").partition("/")[0],
        "class": type(error).__name__,
        "error": str(error).partition("\n")[0].rstrip("."),
    }
    if getattr(error, "response", None) is not None:
        meaning, said["code"] = _answered(error)
    else:
        meaning = _raised(error)
    what, fix = meaning.what.format(**said), meaning.fix.format(**said)
    return meaning.kind(what, where=where, fix=fix)


def code_of(error: Any) -> str:
    """Return the code of an answer of the service's, or nothing."""
    code = getattr(error, "error_code", None)
    if code is None and getattr(error, "error", None) is not None:  # the Resource Manager's
        code = error.error.code
    if code is None and error.response is not None:  # one of many answers in one
        code = error.response.headers.get("x-ms-error-code")
    return str(getattr(code, "value", code) or "")


def _answered(error: Any) -> tuple[Meaning, str]:
    """Return what an answer means, and its code: without a body, its status."""
    status, code = int(error.status_code or 0), code_of(error)
    meaning = CODES.get(code) or CODES.get(str(status))
    if meaning is None and status == 404:
        meaning = _NO_BLOB
    elif meaning is None and 400 <= status < 500:
        meaning = Meaning(InvalidRequest, "Azure refused the request ({code}).")
    return meaning or _FAILED, code or str(status)


def _raised(error: BaseException) -> Meaning:
    """Return what an exception without an answer means, or else the one that it came of."""
    causes = [error, *_causes(error)]
    for cause in reversed(causes):
        for base in type(cause).__mro__:
            if base.__name__ in CLASSES:
                return CLASSES[base.__name__]
    return CLASSES["AzureError"]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what the HTTP library raised, which lies in arguments and reasons."""
    inner = getattr(error, "inner_exception", None) or getattr(error, "reason", None)
    if not isinstance(inner, BaseException):
        inner = next((each for each in error.args if isinstance(each, BaseException)), None)
    if inner is not None:
        yield inner
        yield from _causes(inner)
