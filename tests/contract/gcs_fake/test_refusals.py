"""Who may not, what is not there, and what the fake itself must never pass over in silence."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import google.auth.credentials
import google.auth.exceptions
import obstore.exceptions
import pytest
from google.api_core import exceptions
from requests import Session
from tests.rig.gcs import GcsFake
from tests.rig.gcs.clients import gcs_store, storage_client, token_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.cloud.storage import Bucket, Client
    from obstore.store import GCSStore


class TestWhatIsNotThere:
    def test_is_said_to_be_missing(self, client: Client, bucket: Bucket) -> None:
        deeds: list[Callable[[], object]] = [
            lambda: bucket.blob("a").reload(),
            lambda: bucket.blob("a").patch(),
            lambda: bucket.delete_blob("a"),
            lambda: bucket.blob("b").rewrite(bucket.blob("a")),
            lambda: bucket.blob("b").compose([bucket.blob("a")]),
        ]
        for deed in deeds:
            with pytest.raises(exceptions.NotFound, match="No such object: bucket/a") as error:
                deed()
            assert error.value.errors[0]["reason"] == "notFound"
        for deed in (
            lambda: client.get_bucket("none"),
            lambda: client.bucket("none").blob("a").upload_from_string(b"x"),
            lambda: list(client.list_blobs("none")),
        ):
            with pytest.raises(exceptions.NotFound, match="specified bucket does not exist"):
                deed()

    def test_is_said_to_be_missing_in_xml(self, fake: GcsFake, store: GCSStore) -> None:
        absent = gcs_store(fake.url, "none")
        for deed in (
            lambda: store.get("a"),
            lambda: store.head("a"),
            lambda: store.delete("a"),
            lambda: store.copy("a", "b"),
            lambda: absent.put("a", b"x"),
        ):
            with pytest.raises(FileNotFoundError):
                deed()
        with pytest.raises(obstore.exceptions.GenericError, match="<Code>NoSuchBucket</Code>"):
            list(absent.list())

    def test_is_no_bucket_that_is_not_empty(self, bucket: Bucket) -> None:
        bucket.blob("a").upload_from_string(b"x")
        with pytest.raises(exceptions.Conflict, match="not empty"):
            bucket.delete()
        bucket.delete(force=True)
        with pytest.raises(exceptions.NotFound):
            bucket.delete()


class Renewable(google.auth.credentials.Credentials):
    """Credentials that get the token `new` when they are refused."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "old"

    def refresh(self, request: object) -> None:
        self.token = "new"


class TestACaller:
    def test_without_a_token_is_refused(self, fake: GcsFake, client: Client) -> None:
        """…and google-auth tries to get one before it says so."""
        fake.tokens = {"token"}
        with pytest.raises(google.auth.exceptions.InvalidOperation):
            client.get_bucket("bucket")
        with Session() as session:
            said = session.get(f"{fake.url}/storage/v1/b/bucket").json()["error"]
        assert (said["code"], said["errors"][0]["reason"]) == (401, "required")

    def test_whose_token_can_not_be_renewed_is_refused(self, fake: GcsFake) -> None:
        fake.tokens = {"token"}
        client = storage_client(fake.url, token_credentials("expired"))
        with pytest.raises(google.auth.exceptions.RefreshError):
            client.get_bucket("bucket")
        client.close()

    def test_with_an_expired_token_is_refused(
        self, fake: GcsFake, bucket: Bucket, store: GCSStore
    ) -> None:
        store.put("a", b"x")
        fake.tokens = {"token"}
        assert store.get("a").bytes() == b"x"
        fake.tokens = {"other"}
        with pytest.raises(obstore.exceptions.UnauthenticatedError, match="AuthenticationRequired"):
            store.get("a")
        renewed = gcs_store(fake.url, bucket.name, lambda: next(iter(fake.tokens or ())))
        assert renewed.get("a").bytes() == b"x"
        fake.tokens = {"another"}
        assert renewed.get("a").bytes() == b"x"

    def test_gets_on_with_a_new_token(self, fake: GcsFake, bucket: Bucket) -> None:
        """…in the middle of an upload: google-auth asks for one when it is refused."""
        fake.tokens = {"old"}
        client = storage_client(fake.url, Renewable())
        with client.bucket("bucket").blob("a", chunk_size=1 << 18).open("wb") as file:
            file.write(bytes(1 << 19))
            fake.tokens = {"new"}
            file.write(bytes(1 << 19))
        client.close()
        fake.tokens = None
        assert bucket.get_blob("a").size == 1 << 20

    def test_with_the_right_token_is_let_in(self, fake: GcsFake, bucket: Bucket) -> None:
        fake.tokens = {"token"}
        client = storage_client(fake.url, token_credentials("token"))
        assert client.get_bucket("bucket").name == "bucket"
        client.close()

    @pytest.mark.parametrize("verb", ["get", "create", "delete", "list"])
    def test_who_may_not_is_told_the_permission(
        self, fake: GcsFake, bucket: Bucket, store: GCSStore, verb: str
    ) -> None:
        store.put("a", b"x")
        permission = f"storage.objects.{verb}"
        fake.denied = {permission}
        as_json, as_xml = {
            "get": (lambda: bucket.blob("a").reload(), lambda: store.get("a")),
            "create": (
                lambda: bucket.blob("a").rewrite(bucket.blob("a")),
                lambda: store.put("a", b""),
            ),
            "delete": (lambda: bucket.delete_blob("a"), lambda: store.delete("a")),
            "list": (lambda: list(bucket.list_blobs()), lambda: list(store.list())),
        }[verb]
        with pytest.raises(exceptions.Forbidden, match=permission):
            as_json()
        with pytest.raises(Exception, match="<Code>AccessDenied</Code>") as error:
            as_xml()
        denied = isinstance(error.value, obstore.exceptions.PermissionDeniedError)
        assert denied or verb == "list"  # obstore calls every failed listing "generic"


class TestTheFake:
    def test_fails_the_test_that_asks_for_what_it_does_not_do(self) -> None:
        with pytest.raises(AssertionError, match="not served"), GcsFake() as fake:
            _ask(fake, lambda client: client.get_service_account_email())

    def test_fails_the_test_whose_parameter_it_would_ignore(self) -> None:
        with pytest.raises(AssertionError, match="matchGlob"), GcsFake() as fake:
            _ask(fake, lambda client: list(client.list_blobs("bucket", match_glob="*")))

    def test_fails_the_test_in_which_it_says_what_google_would_not(self) -> None:
        def spoil(fake: GcsFake) -> None:
            client = storage_client(fake.url)
            client.create_bucket("bucket")
            fake.storage.bucket("bucket").resource["labels"] = ["no", "object"]
            client.get_bucket("bucket")
            client.close()

        with pytest.raises(AssertionError, match="against the schema"), GcsFake() as fake:
            spoil(fake)

    def test_leaves_another_failure_alone(self) -> None:
        def fail(fake: GcsFake) -> None:
            fake.report("a problem")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), GcsFake() as fake:
            fail(fake)

    @pytest.mark.parametrize("is_asked_too_much", [False, True])
    def test_runs_in_a_process_of_its_own(self, *, is_asked_too_much: bool) -> None:
        """…which ends with 1 when it was asked for what it does not do."""
        command = [sys.executable, "-m", "tests.rig.gcs", "--port", "0", "--token", "token"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            assert process.stderr
            url = process.stdout.readline().strip()
            client = storage_client(url, token_credentials("token"))
            client.create_bucket("bucket")
            store = gcs_store(url, "bucket")
            store.put("a", b"x")
            assert client.bucket("bucket").blob("a").download_as_bytes() == b"x"
            if is_asked_too_much:
                with pytest.raises(exceptions.MethodNotImplemented):
                    client.get_service_account_email()
            client.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == is_asked_too_much
            assert ("not served" in process.stderr.read()) is is_asked_too_much


def _ask(fake: GcsFake, question: Callable[[Client], object]) -> None:
    client = storage_client(fake.url)
    with pytest.raises(exceptions.MethodNotImplemented):
        question(client)
    client.close()
