"""What AWS and its SDK can raise, a failure each: a test a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.answers import Answer, answering

from llmcloud.providers.aws.bucket import S3Bucket
from llmcloud.providers.aws.codes import CODES
from llmcloud.providers.aws.credentials import Account
from llmcloud.providers.aws.errors import translated
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
    from pathlib import Path

ROWS: dict[str, tuple[int, type[Failure]]] = {
    "NoSuchBucket": (404, StoreGone),
    "NoSuchKey": (404, NotFound),
    "NoSuchUpload": (404, NotFound),
    "ExpiredToken": (400, CredentialsError),
    "ExpiredTokenException": (400, CredentialsError),
    "TokenRefreshRequired": (400, CredentialsError),
    "RequestExpired": (400, CredentialsError),
    "InvalidToken": (400, CredentialsError),
    "InvalidAccessKeyId": (403, CredentialsError),
    "SignatureDoesNotMatch": (403, CredentialsError),
    "NotSignedUp": (403, CredentialsError),
    "RequestTimeTooSkewed": (403, CredentialsError),
    "AccessDenied": (403, PermissionDenied),
    "AccessDeniedException": (403, PermissionDenied),
    "AllAccessDisabled": (403, PermissionDenied),
    "AccountProblem": (403, PermissionDenied),
    "PermanentRedirect": (301, InvalidRequest),
    "AuthorizationHeaderMalformed": (400, InvalidRequest),
    "IllegalLocationConstraintException": (400, InvalidRequest),
    "InvalidLocationConstraint": (400, InvalidRequest),
    "BucketAlreadyExists": (409, Conflict),
    "BucketAlreadyOwnedByYou": (409, Conflict),
    "InvalidBucketName": (400, InvalidRequest),
    "TooManyBuckets": (400, QuotaExceeded),
    "OperationAborted": (409, Unavailable),
    "BucketNotEmpty": (409, Conflict),
    "PreconditionFailed": (412, Conflict),
    "ConditionalRequestConflict": (409, Conflict),
    "BadDigest": (400, Unavailable),
    "InvalidDigest": (400, Unavailable),
    "XAmzContentChecksumMismatch": (400, Unavailable),
    "IncompleteBody": (400, Unavailable),
    "InvalidPart": (400, Conflict),
    "InvalidPartOrder": (400, Conflict),
    "EntityTooSmall": (400, Conflict),
    "EntityTooLarge": (400, InvalidRequest),
    "SlowDown": (503, Throttled),
    "Throttling": (400, Throttled),
    "ThrottlingException": (400, Throttled),
    "RequestLimitExceeded": (503, Throttled),
    "TooManyRequests": (429, Throttled),
    "ServiceUnavailable": (503, Throttled),
    "RequestTimeout": (400, Unavailable),
    "InternalError": (500, Unavailable),
    "SomethingNew": (400, InvalidRequest),
    "SomethingWorse": (502, Unavailable),
}
MUST_BE_FIXED = (CredentialsError, PermissionDenied, QuotaExceeded, StoreGone)


def _refuse(method: str, path: str, body: bytes) -> Answer:
    """Answer a request with the error that its path ends in."""
    status, _, code = path.partition("?")[0].rpartition("/")[2].partition("-")
    if not status.isdigit():  # the SDK looks where the bucket lies
        status, code = "404", "NoSuchBucket"
    return int(status), {}, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    with answering(_refuse) as url:
        yield url


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have neither the user's profile nor a machine's identity take part."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }.items():
        monkeypatch.setenv(name, value)


def test_each_code_of_the_table_has_a_row_here() -> None:
    assert {code for code in CODES if not code.isdigit()} <= set(ROWS)


@pytest.mark.parametrize("code", ROWS)
def test_a_code_of_the_service_is_told_as_what_it_means(
    code: str, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """…with where it happened, and what to do where something can be done."""
    status, kind = ROWS[code]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", refusing)
    client = Account().client("us-east-1")
    with pytest.raises(Failure) as caught, translated("s3://bucket", "a/b"):
        client.get_object(Bucket="bucket", Key=f"{status}-{code}")
    assert type(caught.value) is kind
    assert caught.value.where == "s3://bucket, a/b"
    assert bool(caught.value.fix) >= issubclass(kind, MUST_BE_FIXED)
    assert "{" not in caught.value.what + caught.value.fix


@pytest.mark.parametrize(("status", "kind"), [(403, PermissionDenied), (503, Throttled)])
def test_an_answer_without_a_body_is_told_by_its_status(
    status: int, kind: type[Failure], refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", refusing)
    with pytest.raises(kind):
        S3Bucket(Account(), "bucket", lambda: None, lambda *_: None).crc32c(f"{status}-")


def test_a_permission_that_is_missing_is_named(
    refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", refusing)
    with pytest.raises(PermissionDenied) as caught, translated("s3://bucket"):
        Account().client("us-east-1").get_object(Bucket="bucket", Key="403-AccessDenied")
    assert "s3:GetObject" in caught.value.fix


CLASSES: dict[str, tuple[dict[str, str], str, type[Failure]]] = {
    "nobody listens": ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "", Unavailable),
    "no such profile": ({"AWS_ACCESS_KEY_ID": "", "AWS_PROFILE": "no"}, "", CredentialsError),
    "no credentials": ({"AWS_ACCESS_KEY_ID": ""}, "", CredentialsError),
    "half of the keys": ({"AWS_SECRET_ACCESS_KEY": ""}, "", CredentialsError),
    "a process that fails": (
        {"AWS_ACCESS_KEY_ID": ""},
        "[default]\ncredential_process = false\n",
        CredentialsError,
    ),
    "an unreadable file": ({"AWS_ACCESS_KEY_ID": ""}, "not an ini file", InvalidRequest),
    "no region": ({"AWS_REGION": "no_where!"}, "", InvalidRequest),
}


@pytest.mark.parametrize("row", CLASSES)
def test_what_the_sdk_raises_by_itself_is_told_as_what_it_means(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, config, kind = CLASSES[row]
    for name, value in environ.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    if config:
        (tmp_path / "config").write_text(config)
    with pytest.raises(kind) as caught:
        S3Bucket(Account(), "bucket", lambda: None, lambda *_: None).crc32c("a")
    assert caught.value.fix
    assert "{" not in caught.value.what


def test_a_name_that_the_sdk_does_not_send_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(InvalidRequest):
        S3Bucket(Account(), "no bucket", lambda: None, lambda *_: None).crc32c("a")
