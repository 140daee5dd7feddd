"""What the codes of Azure and its SDK's exceptions mean."""

from __future__ import annotations

from llmcloud.core.meaning import CHANGED, DAMAGED, GONE, NO_OBJECT, NO_UPLOAD, Meaning
from llmcloud.runtime.errors import (
    Conflict,
    CredentialsError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    StoreGone,
    Throttled,
    Unavailable,
)

NO_CREDENTIALS_FIX = (
    "az login, or set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT and"
    " AZURE_STORAGE_KEY."
)
NAME_FIX = "3 to 63 small letters, digits and single hyphens, with a letter or digit at both ends."

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
_NO_ROLE = Meaning(
    PermissionDenied,
    "Azure does not permit this ({code}).",
    "Have the role Storage Account Contributor on {account} given to you.",
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
REFUSED = Meaning(InvalidRequest, "Azure refused the request ({code}).")
FAILED = Meaning(Unavailable, "Azure did not answer as it should ({code}).")
_BAD_NAME = Meaning(
    InvalidRequest, "Azure does not accept this name of a bucket or object.", NAME_FIX
)
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
    "ContainerNotFound": GONE,
    "ContainerBeingDeleted": Meaning(
        StoreGone,
        "The bucket is being deleted.",
        "Azure frees its name after half a minute or more; until then use another.",
    ),
    "ContainerDisabled": Meaning(
        PermissionDenied, "Azure has disabled the bucket.", "Ask Azure's support why."
    ),
    "ContainerAlreadyExists": Meaning(Conflict, "The bucket exists already."),
    "BlobNotFound": NO_OBJECT,
    "ResourceNotFound": NO_OBJECT,
    "InvalidBlockList": NO_UPLOAD,
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
    "InvalidResourceName": _BAD_NAME,
    "OutOfRangeInput": _BAD_NAME,
    "InvalidUri": _BAD_NAME,
    "InvalidMetadata": Meaning(
        InvalidRequest,
        "Azure does not accept such a tag.",
        "Letters, digits and underscores, no digit first; ASCII in its value.",
    ),
    "MetadataTooLarge": Meaning(InvalidRequest, "The tags are larger than 8 KiB.", "Have fewer."),
    "ConditionNotMet": CHANGED,
    "BlobOverwritten": CHANGED,
    "TargetConditionNotMet": CHANGED,
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
    "Md5Mismatch": DAMAGED,
    "InvalidMd5": DAMAGED,
    "RequestBodyTooLarge": Meaning(InvalidRequest, "The object is larger than Azure takes."),
    "ServerBusy": _SLOW,
    "OperationTimedOut": _SLOW,
    "TooManyRequests": _SLOW,
    "503": _SLOW,
    "429": _SLOW,
    "401": _BAD_KEY,
    "403": _DENIED,
    "412": CHANGED,
    "InternalError": FAILED,
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
    "AuthorizationFailed": _NO_ROLE,
    "LinkedAuthorizationFailed": _NO_ROLE,
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
