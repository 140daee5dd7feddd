"""What Google and its SDK can raise, a failure each: a test a row."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING

import pytest
from tests.rig.answers import Answer, answering, as_json

from llmcloud.core.buckets import BucketWish
from llmcloud.providers.gcp.bucket import GcsBucket
from llmcloud.providers.gcp.buckets import GcsBuckets
from llmcloud.providers.gcp.codes import CODES
from llmcloud.providers.gcp.credentials import NO_LOOK_UPS, Account
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

XML: dict[str, tuple[int, type[Failure]]] = {
    "NoSuchBucket": (404, StoreGone),
    "NoSuchKey": (404, NotFound),
    "NoSuchUpload": (404, NotFound),
    "AuthenticationRequired": (403, CredentialsError),
    "ExpiredToken": (400, CredentialsError),
    "InvalidSecurity": (403, CredentialsError),
    "AccessDenied": (403, PermissionDenied),
    "InsufficientQuota": (403, QuotaExceeded),
    "AccountProblem": (403, PermissionDenied),
    "UserProjectAccountProblem": (403, PermissionDenied),
    "UserProjectAccessDenied": (403, PermissionDenied),
    "UserProjectMissing": (400, InvalidRequest),
    "BucketAlreadyExists": (409, Conflict),
    "BucketNameUnavailable": (409, Conflict),
    "BucketNotEmpty": (409, Conflict),
    "PreconditionFailed": (412, Conflict),
    "BadDigest": (400, Unavailable),
    "CrcMismatch": (400, Unavailable),
    "IncompleteBody": (400, Unavailable),
    "InvalidPart": (400, Conflict),
    "InvalidPartOrder": (400, Conflict),
    "EntityTooSmall": (400, Conflict),
    "EntityTooLarge": (400, InvalidRequest),
    "RateLimitExceeded": (429, Throttled),
    "SlowDown": (503, Throttled),
    "ServiceUnavailable": (503, Throttled),
    "InternalError": (500, Unavailable),
    "SomethingNew": (400, InvalidRequest),
    "SomethingWorse": (502, Unavailable),
}
JSON: dict[str, tuple[int, type[Failure]]] = {
    "authError": (403, CredentialsError),
    "expired": (403, CredentialsError),
    "forbidden": (403, PermissionDenied),
    "insufficientPermissions": (403, PermissionDenied),
    "accountDisabled": (403, PermissionDenied),
    "accessNotConfigured": (403, PermissionDenied),
    "retentionPolicyNotMet": (403, PermissionDenied),
    "objectUnderActiveHold": (403, PermissionDenied),
    "quotaExceeded": (403, QuotaExceeded),
    "dailyLimitExceeded": (403, QuotaExceeded),
    "notFound": (404, StoreGone),
    "conflict": (409, Unavailable),
    "conditionNotMet": (412, Conflict),
    "rateLimitExceeded": (429, Throttled),
    "userRateLimitExceeded": (403, Throttled),
    "backendError": (500, Unavailable),
    "somethingNew": (400, InvalidRequest),
    "somethingWorse": (502, Unavailable),
}
MUST_BE_FIXED = (CredentialsError, PermissionDenied, QuotaExceeded, StoreGone)


ANSWERS: dict[str, tuple[int, str]] = {}  # what a verb is answered where the path names no error


def _refuse(method: str, path: str, body: bytes) -> Answer:
    """Answer a request, in its interface's words, with the error that its path names."""
    path = path.partition("?")[0]
    found = re.search(r"(\d+)-(\w*)", path)
    status, code = (int(found[1]), found[2]) if found else ANSWERS[method]
    if not path.startswith("/storage/"):
        return status, {}, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    error = {"code": status, "message": "no.", "errors": [{"reason": code, "message": "no."}]}
    return as_json({"error": error} if code else {}, status)


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    with answering(_refuse) as url:
        yield url


@pytest.fixture(autouse=True)
def _environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have neither the user's sign-in nor a machine's identity take part."""
    for name in ("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))


@pytest.fixture
def bucket(refusing: str, monkeypatch: pytest.MonkeyPatch) -> GcsBucket:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", refusing)
    return GcsBucket(Account(), "bucket", lambda: None)


@pytest.fixture
def buckets(bucket: GcsBucket, monkeypatch: pytest.MonkeyPatch) -> GcsBuckets:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project")
    return GcsBuckets(bucket.account)


def test_each_code_of_the_table_has_a_row_here() -> None:
    assert set(CODES) <= XML.keys() | JSON.keys()


@pytest.mark.parametrize("code", XML)
def test_a_code_of_the_xml_interface_is_told_as_what_it_means(code: str, bucket: GcsBucket) -> None:
    """…with where it happened, and what to do where something can be done."""
    status, kind = XML[code]
    key = f"{status}-{code}"
    with pytest.raises(Failure) as caught:
        bucket.begin(key, 1, lambda: 0)
    _check(caught.value, kind, f"gs://bucket, {key}")


@pytest.mark.parametrize("code", JSON)
def test_a_reason_of_the_json_interface_is_told_as_what_it_means(
    code: str, buckets: GcsBuckets
) -> None:
    status, kind = JSON[code]
    name = f"{status}-{code}"
    with pytest.raises(Failure) as caught:
        buckets.empty(name)
    _check(caught.value, kind, f"gs://{name}")


def test_what_google_is_asked_is_asked_in_our_thread(
    buckets: GcsBuckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not beside it in one that the SDK begins, and that goes on when the command has ended."""
    monkeypatch.delenv(NO_LOOK_UPS, raising=False)
    begun: list[threading.Thread] = []
    start = threading.Thread.start

    def recorded(thread: threading.Thread) -> None:
        if threading.current_thread() is threading.main_thread():  # the server has its own
            begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", recorded)
    with pytest.raises(Throttled):
        buckets.empty("429-rateLimitExceeded")
    assert not begun


def _check(failure: Failure, kind: type[Failure], where: str) -> None:
    assert type(failure) is kind
    assert failure.where == where
    assert bool(failure.fix) >= issubclass(kind, MUST_BE_FIXED)
    assert "{" not in failure.what + failure.fix


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, PermissionDenied), (429, Throttled), (503, Throttled), (500, Unavailable)],
)
def test_an_answer_without_a_code_is_told_by_its_status(
    status: int, kind: type[Failure], bucket: GcsBucket
) -> None:
    with pytest.raises(kind):
        bucket.begin(f"{status}-", 1, lambda: 0)
    with pytest.raises(kind):
        bucket.crc32c(f"{status}-")


def test_a_permission_that_is_missing_is_named(bucket: GcsBucket, buckets: GcsBuckets) -> None:
    with pytest.raises(PermissionDenied) as caught:
        bucket.begin("403-AccessDenied", 1, lambda: 0)
    assert "storage.multipartUploads.create" in caught.value.fix
    with pytest.raises(PermissionDenied) as caught:
        buckets.describe("403-accountDisabled")
    assert "billing" in caught.value.fix


MADE: dict[str, tuple[dict[str, tuple[int, str]], type[Failure], str]] = {
    "somebody else's name": ({"GET": (403, "forbidden")}, Conflict, "another name"),
    "a name that nobody has and nobody gets": (
        {"GET": (404, "notFound"), "POST": (409, "conflict")},
        Conflict,
        "another name",
    ),
    "no such place": (
        {"GET": (404, "notFound"), "POST": (400, "invalid")},
        InvalidRequest,
        "--region",
    ),
    "no such project": (
        {"GET": (404, "notFound"), "POST": (404, "notFound")},
        InvalidRequest,
        "GOOGLE_CLOUD_PROJECT",
    ),
    "a place that the organisation forbids": (
        {"GET": (404, "notFound"), "POST": (412, "conditionNotMet")},
        InvalidRequest,
        "--region",
    ),
    "no permission": (
        {"GET": (404, "notFound"), "POST": (403, "forbidden")},
        PermissionDenied,
        "storage.buckets.create",
    ),
    "no billing": (
        {"GET": (404, "notFound"), "POST": (403, "accountDisabled")},
        PermissionDenied,
        "billing",
    ),
    "too many buckets a second": (
        {"GET": (404, "notFound"), "POST": (429, "rateLimitExceeded")},
        Throttled,
        "",
    ),
}


@pytest.mark.parametrize("row", MADE)
def test_a_bucket_that_can_not_be_made_is_told_with_its_fix(
    row: str, buckets: GcsBuckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, kind, fix = MADE[row]
    for verb, answer in answers.items():
        monkeypatch.setitem(ANSWERS, verb, answer)
    with pytest.raises(kind) as caught:
        buckets.create("bucket", BucketWish(region="nowhere"))
    assert fix in caught.value.fix
    assert caught.value.where == "gs://bucket"


@pytest.mark.parametrize("tags", [{"Team": "a"}, {"team": "NLP"}, {"1a": "b"}, {"a": "x" * 64}])
def test_tags_that_google_has_no_labels_for_are_refused(
    tags: dict[str, str], buckets: GcsBuckets
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        buckets.create("bucket", BucketWish(tags=tags))
    assert "letter" in caught.value.fix


def test_a_project_that_is_not_known_is_told_only_where_one_is_needed(
    bucket: GcsBucket,
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        list(GcsBuckets(bucket.account).list())
    assert "GOOGLE_CLOUD_PROJECT" in caught.value.fix
    with pytest.raises(NotFound):
        bucket.crc32c("404-notFound")


KEY = {"type": "service_account", "client_email": "a@b", "token_uri": "http://127.0.0.1:9/"}
CLASSES: dict[str, tuple[dict[str, str], str | None, type[Failure]]] = {
    "nobody listens": ({"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}, None, Unavailable),
    "no address": ({"STORAGE_EMULATOR_HOST": "127.0.0.1:9"}, None, InvalidRequest),
    "no host": ({"STORAGE_EMULATOR_HOST": "http://"}, None, InvalidRequest),
    "no credentials": ({}, None, CredentialsError),
    "no such file": ({"GOOGLE_APPLICATION_CREDENTIALS": "/no/such/file"}, None, CredentialsError),
    "no JSON": ({}, "not JSON", CredentialsError),
    "no key in it": ({}, json.dumps(KEY), CredentialsError),
}


@pytest.mark.parametrize("row", CLASSES)
def test_what_the_sdk_raises_by_itself_is_told_as_what_it_means(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, key, kind = CLASSES[row]
    if key:
        (tmp_path / "key.json").write_text(key)
        environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(kind) as caught:
        GcsBucket(Account(), "bucket", lambda: None).begin("a", 1, lambda: 0)
    assert caught.value.fix
    assert "{" not in caught.value.what


def test_an_anonymous_request_that_is_refused_asks_for_credentials(bucket: GcsBucket) -> None:
    with pytest.raises(CredentialsError):
        bucket.begin("401-AuthenticationRequired", 1, lambda: 0)
