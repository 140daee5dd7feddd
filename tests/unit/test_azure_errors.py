"""What Azure and its SDKs can raise, a failure each: a test a row."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from tests.rig.answers import Answer, answering, as_json
from tests.rig.emulators import certificates
from tests.rig.entra import Entra, entra

from llmcloud.core.buckets import BucketWish
from llmcloud.providers.azure.buckets import AzureBuckets
from llmcloud.providers.azure.codes import CODES
from llmcloud.providers.azure.credentials import Account
from llmcloud.providers.azure.errors import translated
from llmcloud.providers.azure.settings import AccountSettings
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

ROWS: dict[str, tuple[int, type[Failure]]] = {
    "ContainerNotFound": (404, StoreGone),
    "ContainerBeingDeleted": (409, StoreGone),
    "ContainerDisabled": (403, PermissionDenied),
    "ContainerAlreadyExists": (409, Conflict),
    "BlobNotFound": (404, NotFound),
    "ResourceNotFound": (404, NotFound),
    "InvalidBlockList": (400, NotFound),
    "AuthenticationFailed": (403, CredentialsError),
    "InvalidAuthenticationInfo": (401, CredentialsError),
    "NoAuthenticationInformation": (401, CredentialsError),
    "ResourceTypeMismatch": (409, Conflict),
    "AuthorizationFailure": (403, PermissionDenied),
    "KeyBasedAuthenticationNotPermitted": (403, PermissionDenied),
    "AuthorizationPermissionMismatch": (403, PermissionDenied),
    "AuthorizationProtocolMismatch": (403, PermissionDenied),
    "AuthorizationResourceTypeMismatch": (403, PermissionDenied),
    "AuthorizationServiceMismatch": (403, PermissionDenied),
    "AuthorizationSourceIPMismatch": (403, PermissionDenied),
    "InsufficientAccountPermissions": (403, PermissionDenied),
    "UnauthorizedBlobOverwrite": (403, PermissionDenied),
    "PublicAccessNotPermitted": (409, PermissionDenied),
    "AccountIsDisabled": (403, PermissionDenied),
    "InvalidResourceName": (400, InvalidRequest),
    "OutOfRangeInput": (400, InvalidRequest),
    "InvalidUri": (400, InvalidRequest),
    "InvalidMetadata": (400, InvalidRequest),
    "MetadataTooLarge": (400, InvalidRequest),
    "ConditionNotMet": (412, Conflict),
    "BlobOverwritten": (409, Conflict),
    "TargetConditionNotMet": (412, Conflict),
    "BlobAlreadyExists": (409, Conflict),
    "InvalidBlobOrBlock": (400, Conflict),
    "BlockCountExceedsLimit": (409, Conflict),
    "InvalidBlobType": (409, Conflict),
    "SnapshotsPresent": (409, Conflict),
    "LeaseIdMissing": (412, Conflict),
    "LeaseIdMismatchWithBlobOperation": (412, Conflict),
    "LeaseIdMismatchWithContainerOperation": (412, Conflict),
    "BlobImmutableDueToPolicy": (409, Conflict),
    "ContainerImmutableDueToPolicy": (409, Conflict),
    "BlobImmutableDueToLegalHold": (409, Conflict),
    "BlobArchived": (409, Conflict),
    "BlobBeingRehydrated": (409, Conflict),
    "Md5Mismatch": (400, Unavailable),
    "InvalidMd5": (400, Unavailable),
    "RequestBodyTooLarge": (413, InvalidRequest),
    "ServerBusy": (503, Throttled),
    "OperationTimedOut": (500, Throttled),
    "TooManyRequests": (429, Throttled),
    "InternalError": (500, Unavailable),
    "AccountBeingCreated": (409, Unavailable),
    "SomethingNew": (400, InvalidRequest),
    "SomethingWorse": (502, Unavailable),
}
ARM_ROWS: dict[str, tuple[int, type[Failure]]] = {
    "ResourceGroupNotFound": (404, NotFound),
    "SubscriptionNotFound": (404, NotFound),
    "InvalidSubscriptionId": (400, InvalidRequest),
    "AuthorizationFailed": (403, PermissionDenied),
    "LinkedAuthorizationFailed": (403, PermissionDenied),
    "RequestDisallowedByPolicy": (403, PermissionDenied),
    "ScopeLocked": (409, Conflict),
    "ExpiredAuthenticationToken": (401, CredentialsError),
    "InvalidAuthenticationToken": (401, CredentialsError),
    "InvalidAuthenticationTokenTenant": (401, CredentialsError),
    "MaxStorageAccountsCountPerSubscriptionExceeded": (409, QuotaExceeded),
    "TooManyRequests": (429, Throttled),
    "SomethingNew": (400, InvalidRequest),
    "SomethingWorse": (502, Unavailable),
}
MUST_BE_FIXED = (CredentialsError, PermissionDenied, QuotaExceeded, StoreGone)
NAMES = (
    *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"),
    *("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SERVICE_ENDPOINT", "REQUESTS_CA_BUNDLE"),
    *("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_MANAGER_URL"),
)


def _refuse(method: str, path: str, body: bytes) -> Answer:
    """Answer with the error that the end of the path names, as the Blob service does."""
    status, _, code = path.split("?", maxsplit=1)[0].rpartition("/")[2].partition("-")
    headers = {"x-ms-error-code": code} if code else {}
    text = f"<Error><Code>{code}</Code><Message>no</Message></Error>" if code else ""
    return int(status), {**headers, "Content-Type": "application/xml"}, text.encode()


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    with answering(_refuse) as url:
        yield url


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")


@pytest.fixture
def account(refusing: str, monkeypatch: pytest.MonkeyPatch) -> Account:
    monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", f"{refusing}/account")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
    return Account("account")


def test_each_code_of_the_table_has_a_row_here() -> None:
    assert {code for code in CODES if not code.isdigit()} <= {*ROWS, *ARM_ROWS}


@pytest.mark.parametrize("code", ROWS)
def test_a_code_of_the_service_is_told_as_what_it_means(code: str, account: Account) -> None:
    """…with where it happened, and what to do where something can be done."""
    status, kind = ROWS[code]
    blob = account.client().get_blob_client("bucket", f"{status}-{code}")
    with pytest.raises(Failure) as caught, translated("az://account/bucket", "a/b"):
        blob.download_blob()
    assert type(caught.value) is kind
    assert caught.value.where == "az://account/bucket, a/b"
    assert bool(caught.value.fix) >= issubclass(kind, MUST_BE_FIXED)
    assert "{" not in caught.value.what + caught.value.fix


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, CredentialsError), (403, PermissionDenied), (404, NotFound), (503, Throttled)],
)
def test_an_answer_without_a_body_is_told_by_its_status(
    status: int, kind: type[Failure], account: Account
) -> None:
    blob = account.client().get_blob_client("bucket", f"{status}-")
    with pytest.raises(kind) as caught, translated("az://account/bucket", "a/b"):
        blob.get_blob_properties()
    assert caught.value.where == "az://account/bucket, a/b"


def test_the_code_of_an_answer_without_a_body_is_read_from_its_header(account: Account) -> None:
    blob = account.client().get_blob_client("bucket", "404-ContainerNotFound")
    with pytest.raises(StoreGone), translated("az://account/bucket", "a/b"):
        blob.get_blob_properties()


@pytest.fixture(scope="module")
def identity() -> Iterator[Entra]:
    with entra() as made:
        yield made


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a Resource Manager whose answer to all of a subscription is the error it is named by."""

    def answer(method: str, path: str, body: bytes) -> Answer:
        status, _, code = path.split("/")[2].partition("-")
        return as_json({"error": {"code": code, "message": "no"}}, int(status))

    made = certificates.issue(tmp_path_factory.mktemp("manager"))
    with answering(answer, made) as url:
        yield {"AZURE_RESOURCE_MANAGER_URL": url, "REQUESTS_CA_BUNDLE": str(made.authority)}


@pytest.mark.parametrize("code", ARM_ROWS)
def test_a_code_of_the_resource_manager_is_told_as_what_it_means(
    code: str, manager: dict[str, str], identity: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, kind = ARM_ROWS[code]
    for name, value in {**manager, **identity.environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", f"{status}-{code}")
    with pytest.raises(Failure) as caught:
        assert AccountSettings(Account("account")).region
    assert type(caught.value) is kind
    assert caught.value.where == "az://account"
    assert bool(caught.value.fix) >= issubclass(kind, MUST_BE_FIXED)
    assert "{" not in caught.value.what + caught.value.fix


class TestWhatTheSdkRaisesByItself:
    def test_when_nobody_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
        monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", "http://127.0.0.1:9/account")
        with pytest.raises(Unavailable) as caught:
            AzureBuckets().describe("account/bucket")
        assert caught.value.fix

    def test_when_there_is_no_such_account(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """…which is when its name has no address."""

        def no_address(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", no_address)
        monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
        with pytest.raises(NotFound) as caught:
            AzureBuckets().describe("account/bucket")
        assert "az storage account create --name account" in caught.value.fix

    def test_when_there_are_no_credentials(self) -> None:
        with pytest.raises(CredentialsError) as caught:
            AzureBuckets().open("account/bucket").connect(0)
        assert "az login" in caught.value.fix
        with pytest.raises(CredentialsError):
            AzureBuckets().create("account/bucket", BucketWish())

    def test_when_the_key_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_STORAGE_KEY", "not base64!")
        with pytest.raises(CredentialsError) as caught:
            AzureBuckets().open("account/bucket").connect(0)
        assert "AZURE_STORAGE_KEY" in caught.value.fix

    def test_when_the_certificate_is_not_trusted(
        self, manager: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = manager["AZURE_RESOURCE_MANAGER_URL"]
        monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
        monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", url)
        with pytest.raises(Unavailable) as caught:
            AzureBuckets().describe("account/bucket")
        assert "REQUESTS_CA_BUNDLE" in caught.value.fix

    def test_when_the_service_hangs_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
            monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", f"http://127.0.0.1:{port}/account")
            server.settimeout(30)
            hang_up = threading.Thread(target=lambda: server.accept()[0].close())
            hang_up.start()
            with pytest.raises(Unavailable):
                AzureBuckets().describe("account/bucket")
            hang_up.join()
