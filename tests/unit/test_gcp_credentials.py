"""Who we are at Google: what its SDK would say, from a key to a machine's own identity."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import obstore
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fastcrc.crc32 import iscsi as crc32c
from tests.rig.answers import Answer, answering, as_json
from tests.rig.gcs import GcsFake

from llmcloud.core.buckets import BucketWish
from llmcloud.providers.gcp.buckets import GcsBuckets
from llmcloud.providers.gcp.credentials import ADDRESS, Account
from llmcloud.runtime.bucket import BucketStore
from llmcloud.runtime.errors import CredentialsError, InvalidRequest, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = b"x" * (5 << 20)
NAMES = (
    *("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE", "GOOGLE_APPLICATION_CREDENTIALS"),
    *("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "GOOGLE_CLOUD_QUOTA_PROJECT"),
)


@pytest.fixture(autouse=True)
def _environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))


class Tokens:
    """Google's server of tokens, and a machine's metadata server; each token has its number."""

    def __init__(self) -> None:
        self.lifetime_s = 3600
        self.status = 200
        self.issued: list[str] = []
        self.address = ""

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Tell a token, or what a machine knows of itself."""
        said = self._said(path.partition("?")[0])
        flavor = {"Metadata-Flavor": "Google"}
        if isinstance(said, str):
            return 200, {**flavor, "Content-Type": "text/plain"}, said.encode()
        status, headers, document = as_json(said, self.status)
        return status, {**flavor, **headers}, document

    def _said(self, path: str) -> Any:
        if path == "/":  # "are you there?"
            return ""
        if path == "/computeMetadata/v1/project/project-id":
            return "the-machine's-project"
        if path.startswith("/computeMetadata/") and "/token" not in path:
            return {"email": "machine@project", "scopes": [], "aliases": ["default"]}
        if self.status != 200:
            return {"error": "invalid_grant", "error_description": "no"}
        self.issued.append(f"token-{len(self.issued) + 1}")
        return {
            "access_token": self.issued[-1],
            "expires_in": self.lifetime_s,
            "token_type": "Bearer",
        }


@pytest.fixture
def tokens() -> Iterator[Tokens]:
    made = Tokens()
    with answering(made.answer) as url:
        made.address = url.removeprefix("http://")
        yield made


@pytest.fixture(scope="module")
def private_key() -> str:
    made = rsa.generate_private_key(65537, 2048)
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return made.private_bytes(*kinds, serialization.NoEncryption()).decode()


@pytest.fixture
def key(tokens: Tokens, private_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the key of a service account be what we are known by."""
    path = tmp_path / "key.json"
    said = {
        "type": "service_account",
        "project_id": "the-key's-project",
        "client_email": "trainer@project",
        "private_key_id": "1",
        "private_key": private_key,
        "token_uri": f"http://{tokens.address}/token",
    }
    path.write_text(json.dumps(said))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsFake]:
    with GcsFake(tokens=[]) as made:
        monkeypatch.setenv("API_ENDPOINT_OVERRIDE", made.url)
        yield made


@pytest.mark.usefixtures("key")
def test_the_key_of_a_service_account_is_turned_into_a_token(tokens: Tokens) -> None:
    account = Account()
    provide = account.provider()
    said = provide()
    assert said["token"] == tokens.issued[-1] == "token-1"
    assert said["expires_at"] is not None
    assert timedelta(minutes=50) < said["expires_at"] - datetime.now(UTC) <= timedelta(hours=1)
    assert provide() == said
    assert account.project == "the-key's-project"
    assert account.endpoint == ADDRESS


@pytest.mark.usefixtures("key")
def test_a_token_that_is_about_to_end_is_renewed(tokens: Tokens) -> None:
    """…before it does: Google's own clients do it when less than four minutes are left."""
    tokens.lifetime_s = 200
    provide = Account().provider()
    assert provide()["token"] != provide()["token"]


@pytest.mark.usefixtures("key")
def test_a_project_in_the_environment_goes_before_the_key_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "another")
    assert Account().project == "another"


@pytest.mark.usefixtures("key")
def test_all_ways_to_a_bucket_bear_the_token(fake: GcsFake, tokens: Tokens) -> None:
    """…those of obstore, of Google's SDK and of the XML interface."""
    fake.tokens = {"token-1"}
    buckets = GcsBuckets(Account())
    buckets.create("bucket", BucketWish())
    store = BucketStore(buckets.open("bucket"))
    store.put("a", b"x")
    upload = store.api.begin("b", len(DATA), lambda: 0)
    upload.put(1, DATA, crc32c(DATA))
    upload.complete(1, crc32c(DATA))
    assert store.crc32c("b") == crc32c(DATA)
    assert tokens.issued == ["token-1"]


@pytest.mark.usefixtures("key")
def test_a_token_that_ends_in_the_middle_of_a_transfer_is_renewed(
    fake: GcsFake, tokens: Tokens
) -> None:
    """…by obstore as its end comes near, and in parts also when it is refused before."""
    tokens.lifetime_s = 200  # too short to be kept, so that each request asks for another
    fake.tokens = None
    GcsBuckets(Account()).create("bucket", BucketWish())
    store = BucketStore(GcsBuckets(Account()).open("bucket"))
    store.put("a", b"x")
    fake.tokens = {f"token-{len(tokens.issued) + 1}"}
    tokens.lifetime_s = 3600
    upload = store.api.begin("b", len(DATA), lambda: 0)
    fake.tokens = {f"token-{len(tokens.issued) + 1}"}  # the service ends the one that is valid
    upload.put(1, DATA, crc32c(DATA))
    upload.complete(1, crc32c(DATA))
    assert obstore.head(store.api.connect(0), "b")["size"] == len(DATA)


@pytest.mark.usefixtures("key")
def test_a_key_that_was_withdrawn_is_told_before_anything_is_sent(tokens: Tokens) -> None:
    tokens.status = 400
    with pytest.raises(CredentialsError) as caught:
        GcsBuckets(Account()).open("bucket").connect(0)
    assert "gcloud" in caught.value.fix


@pytest.mark.usefixtures("key")
def test_a_server_of_tokens_that_is_down_is_no_fault_of_the_credentials(
    tokens: Tokens, key: Path
) -> None:
    key.write_text(key.read_text().replace(tokens.address, "127.0.0.1:9"))
    with pytest.raises(Unavailable):
        GcsBuckets(Account()).open("bucket").connect(0)


@pytest.mark.usefixtures("key")
def test_a_project_that_pays_is_named_in_each_request(
    fake: GcsFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "payer")
    seen = []
    answer = fake.answer
    fake.tokens = None
    fake._server.answer = lambda request: seen.append(request.headers) or answer(request)
    buckets = GcsBuckets(Account())
    buckets.create("bucket", BucketWish())
    store = BucketStore(buckets.open("bucket"))
    store.put("a", b"x")
    store.api.begin("b", 1, lambda: 0).abort()
    assert {headers.get("x-goog-user-project") for headers in seen} == {"payer"}


def test_no_credentials_are_told_before_anything_is_sent() -> None:
    with pytest.raises(CredentialsError) as caught:
        GcsBuckets(Account()).open("bucket").connect(0)
    assert "gcloud auth application-default login" in caught.value.fix


def test_an_emulator_is_asked_without_credentials_and_without_google_s_sdk() -> None:
    program = """
        import sys
        from llmcloud.core.stores import open_store
        api = open_store("gs://bucket").api
        api.connect(0)
        api.piece("a", 0, 0, "")
        print([name for name in sys.modules if name.startswith(("google.auth", "requests"))])
    """
    environ = {**os.environ, "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}
    assert _run(program, environ) == ["[]"]


def test_a_machine_of_google_s_is_known_by_its_metadata_server(tokens: Tokens) -> None:
    program = """
        from llmcloud.providers.gcp.credentials import Account
        account = Account()
        print(account.provider()()["token"])
        print(account.project)
    """
    environ = {name: value for name, value in os.environ.items() if name != "NO_GCE_CHECK"}
    environ |= {"GCE_METADATA_HOST": tokens.address, "GCE_METADATA_IP": tokens.address}
    assert _run(program, environ) == ["token-1", "the-machine's-project"]


@pytest.mark.parametrize("address", ["127.0.0.1:9023", "http://a b", "http://[::x", "http://a:b"])
def test_an_address_that_is_no_url_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    with pytest.raises(InvalidRequest) as caught:
        GcsBuckets(Account()).open("bucket").connect(0)
    assert "http://127.0.0.1:9023" in caught.value.fix


@pytest.mark.usefixtures("key")
def test_tokens_never_travel_in_the_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """…but on this machine; an emulator, wherever it is, gets none."""
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", "http://storage.example")
    bucket = GcsBuckets(Account()).open("bucket")
    for attempt in (
        lambda: bucket.connect(0),
        lambda: bucket.begin("a", 1, lambda: 0),
        lambda: bucket.piece("a", 0, 0, ""),
    ):
        with pytest.raises(InvalidRequest) as caught:
            attempt()
        assert "https://" in caught.value.fix
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://storage.example")
    assert Account().endpoint == "http://storage.example"


def _run(program: str, environ: dict[str, str]) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
