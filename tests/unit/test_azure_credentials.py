"""Who we are at a storage account: what Azure's tools would say, and without SDK where they need
none."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from azure.identity import CredentialUnavailableError

from llmcloud.providers.azure.buckets import AzureBuckets
from llmcloud.providers.azure.credentials import SCOPE, Account
from llmcloud.runtime.errors import CredentialsError, InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

KEY = base64.b64encode(b"key").decode()
OTHER = base64.b64encode(b"other").decode()
NAMES = (
    *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"),
    *("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SERVICE_ENDPOINT", "REQUESTS_CA_BUNDLE"),
)


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")


def _set(monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def test_a_key_is_used_without_importing_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, AZURE_STORAGE_ACCOUNT="account", AZURE_STORAGE_KEY=KEY)
    _set(monkeypatch, AZURE_STORAGE_SERVICE_ENDPOINT="http://127.0.0.1:9/account")
    program = (
        "import sys; from llmcloud.core.stores import open_store;"
        "store = open_store('az://account/bucket'); store.api.connect(0);"
        "store.api.piece('a', 0, 0, '');"
        "print(store.api._account.provider()());"
        "sdk = ('azure.core', 'azure.identity', 'azure.storage.blob', 'msal', 'requests');"
        "print([name for name in sys.modules if name.startswith(sdk)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    said, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert KEY in said


def test_a_connection_string_goes_before_the_other_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = f"AccountName=account;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn"
    _set(monkeypatch, AZURE_STORAGE_CONNECTION_STRING=text, AZURE_STORAGE_KEY=OTHER)
    account = Account("account")
    assert account.endpoint == "https://account.blob.core.chinacloudapi.cn"
    assert account.provider()() == {"access_key": KEY, "expires_at": None}


def test_a_key_goes_before_a_sas_token(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, AZURE_STORAGE_SAS_TOKEN="?sv=1&sig=a%2Bb")
    assert Account("account").provider()() == {"sas_token": "sv=1&sig=a%2Bb", "expires_at": None}
    _set(monkeypatch, AZURE_STORAGE_KEY=KEY)
    assert Account("account").provider()() == {"access_key": KEY, "expires_at": None}


@pytest.mark.parametrize(
    "environ",
    [
        {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_KEY": KEY},
        {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_SAS_TOKEN": "sv=1"},
        {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=account;AccountKey={KEY}"},
        {
            "AZURE_STORAGE_CONNECTION_STRING": "SharedAccessSignature=sv=1;"
            "BlobEndpoint=https://account.blob.core.windows.net/"
        },
    ],
)
def test_the_credentials_of_one_account_are_not_sent_to_another(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, **environ)
    assert Account("account").provider()()["expires_at"] is None
    with pytest.raises(CredentialsError):
        Account("another").provider()


def test_an_endpoint_is_the_accounts_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Account("account").endpoint == "https://account.blob.core.windows.net"
    _set(monkeypatch, AZURE_STORAGE_SERVICE_ENDPOINT="https://account.blob.core.usgovcloudapi.net/")
    assert Account("account").endpoint == "https://account.blob.core.usgovcloudapi.net"
    _set(monkeypatch, AZURE_STORAGE_ACCOUNT="another")
    assert Account("account").endpoint == "https://account.blob.core.windows.net"


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("http://127.0.0.1:10000/account", True),
        ("http://localhost:10000/account", True),
        ("http://[::1]:10000/account", True),
        ("https://blob.example.org", True),
        ("http://account.blob.core.windows.net", False),
        ("http://10.0.0.1/account", False),
        ("http://localhost.example.org", False),
        ("ftp://127.0.0.1", False),
        ("account.blob.core.windows.net", False),
        ("https://[::x", False),
        ("https://a b", False),
    ],
)
def test_nothing_travels_in_the_open_but_on_this_machine(
    url: str, is_safe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, AZURE_STORAGE_SERVICE_ENDPOINT=url)
    if is_safe:
        assert Account("account").endpoint == url
        return
    with pytest.raises(InvalidRequest) as caught:
        assert Account("account").endpoint
    assert "https://" in caught.value.fix


def test_tokens_never_travel_in_the_open(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, AZURE_STORAGE_SERVICE_ENDPOINT="http://127.0.0.1:9/account")
    bucket = AzureBuckets().open("account/bucket")
    for attempt in (
        lambda: bucket.connect(0),
        lambda: bucket.begin("a", 1, lambda: 0),
        lambda: bucket.piece("a", 0, 0, ""),
    ):
        with pytest.raises(CredentialsError) as caught:
            attempt()
        assert "AZURE_STORAGE_KEY" in caught.value.fix


def test_a_connection_string_that_names_no_account_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set(monkeypatch, AZURE_STORAGE_CONNECTION_STRING="UseDevelopmentStorage=true")
    with pytest.raises(InvalidRequest) as caught:
        Account("account").provider()
    assert "az storage account show-connection-string" in caught.value.fix


@pytest.mark.parametrize("name", ["", "ab", "Account", "my-account", "a" * 25, "a.b", "a/b"])
def test_an_account_has_a_name_that_azure_could_give_it(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Account(name)
    assert caught.value.fix


def test_certificates_that_can_not_be_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, AZURE_STORAGE_KEY=KEY, REQUESTS_CA_BUNDLE="/no/such/file.pem")
    with pytest.raises(InvalidRequest) as caught:
        AzureBuckets().open("account/bucket").connect(0)
    assert "REQUESTS_CA_BUNDLE" in caught.value.fix


def test_a_bucket_is_reached_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """…whatever variables obstore would listen to that Azure's tools do not know."""
    _set(
        monkeypatch,
        AZURE_STORAGE_KEY=KEY,
        AZURE_STORAGE_USE_EMULATOR="true",
        AZURE_SKIP_SIGNATURE="true",
        AZURE_CONTAINER_NAME="another",
        AZURE_STORAGE_ACCOUNT_NAME="another",
        AZURE_STORAGE_ENDPOINT="http://127.0.0.1:1",
    )
    config = AzureBuckets().open("account/bucket").connect(0).config
    assert config["endpoint"] == "https://account.blob.core.windows.net"
    assert (config["account_name"], config["container_name"]) == ("account", "bucket")
    assert (config["use_emulator"], config["skip_signature"]) == ("false", "false")


def test_an_account_must_be_named_to_list_its_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest) as caught:
        list(AzureBuckets().list())
    assert "AZURE_STORAGE_ACCOUNT" in caught.value.fix


def test_a_sign_in_is_asked_for_a_token_once_by_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """…as az takes its time; but not where the service wants another."""
    minted = {"accessToken": "token", "expires_on": int(time.time()) + 3600, "tokenType": "Bearer"}
    script = tmp_path / "az"
    script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/log\necho '{json.dumps(minted)}'\n")
    script.chmod(0o755)
    _set(
        monkeypatch, AZURE_TOKEN_CREDENTIALS="AzureCliCredential", PATH=f"{tmp_path}:/usr/bin:/bin"
    )
    buckets = AzureBuckets()
    for _ in range(2):
        assert buckets.open("account/bucket").connect(0)
    account = buckets.open("account/another")._account  # type: ignore[attr-defined]
    assert account.provider()()["token"] == "token"
    assert account.credential.get_token(SCOPE, enable_cae=True).token == "token"
    assert (tmp_path / "log").read_text() == "x\n"
    with pytest.raises(CredentialUnavailableError):  # az can't meet claims, and was asked to
        account.credential.get_token(SCOPE, claims="{}")


def test_what_goes_wrong_is_told_but_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """…by us: Azure's SDK would write to stderr, too."""
    program = (
        "from llmcloud.core.stores import open_store\n"
        "from llmcloud.runtime.errors import CredentialsError\n"
        "try:\n    open_store('az://account/bucket').put('a', b'')\n"
        "except CredentialsError as failure:\n    print(failure.exit_code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("4\n", "")
