"""Who we are at AWS: what its SDK would say, and without it where the environment says all."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from llmcloud.providers.aws.bucket import S3Bucket
from llmcloud.providers.aws.credentials import VALID, Account
from llmcloud.runtime.errors import CredentialsError, InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
NAMES = (
    *(*KEYS, "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"),
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path / "config"


def _set(monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def test_keys_in_the_environment_are_used_without_importing_the_sdk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set(monkeypatch, **KEYS, AWS_SESSION_TOKEN="token", AWS_REGION="eu-west-1")
    program = (
        "import sys; from llmcloud.core.stores import open_store;"
        "store = open_store('s3://bucket'); store.api.connect(0);"
        "print(store.api._account.provider()());"
        "print([name for name in sys.modules if name.startswith('boto')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    said, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert all(f"'{each}'" in said for each in ("id", "secret", "token"))


def test_a_profile_says_who_where_and_through_which_endpoint(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("a certificate")
    config.write_text(
        "[profile work]\naws_access_key_id = a\naws_secret_access_key = b\nregion = eu-north-1\n"
        f"endpoint_url = http://127.0.0.1:1/\nca_bundle = {authority}\n"
    )
    _set(monkeypatch, AWS_PROFILE="work")
    account = Account()
    said = account.provider()()
    assert (said["access_key_id"], said["secret_access_key"]) == ("a", "b")
    assert said["expires_at"] is None
    assert (account.region, account.endpoint) == ("eu-north-1", "http://127.0.0.1:1")
    assert account.authority == b"a certificate"


def test_an_endpoint_of_s3_alone_goes_before_a_general_one(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(
        "[default]\nservices = mine\nendpoint_url = http://all\n"
        "[services mine]\ns3 =\n  endpoint_url = http://s3-alone\n"
    )
    assert Account().endpoint == "http://s3-alone"
    _set(monkeypatch, AWS_ENDPOINT_URL="http://general")
    assert Account().endpoint == "http://general"
    _set(monkeypatch, AWS_ENDPOINT_URL_S3="http://s3")
    assert Account().endpoint == "http://s3"
    _set(monkeypatch, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true")
    assert Account().endpoint == ""


def test_the_environment_goes_before_the_profile(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("[default]\nregion = eu-north-1\n")
    assert Account().region == "eu-north-1"
    _set(monkeypatch, AWS_DEFAULT_REGION="us-west-1")
    assert Account().region == "us-west-1"
    _set(monkeypatch, AWS_REGION="us-west-2")
    assert Account().region == "us-west-2"


def test_credentials_that_expire_are_asked_for_again(config: Path, tmp_path: Path) -> None:
    """…long before they do: obstore is told to come back, and the SDK renews them."""
    script = tmp_path / "issue.py"
    script.write_text(
        "import datetime, json, pathlib\n"
        "log = pathlib.Path(__file__).with_name('log')\n"
        "count = len(log.read_text()) if log.exists() else 0\n"
        "log.write_text('x' * (count + 1))\n"
        "end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=9)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'id{count}', 'SecretAccessKey': 's',\n"
        "    'SessionToken': 't', 'Expiration': end.isoformat()}))\n"
    )
    config.write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    provide = Account().provider()
    first, second = provide(), provide()
    assert first["access_key_id"] != second["access_key_id"]
    assert second["expires_at"] is not None
    assert second["expires_at"] <= datetime.now(UTC) + VALID < datetime.now(UTC) + timedelta(0, 540)


def test_no_credentials_are_told_before_anything_is_sent() -> None:
    with pytest.raises(CredentialsError) as caught:
        S3Bucket(Account(), "bucket", lambda: None, lambda *_: None).connect(0)
    assert "AWS_ACCESS_KEY_ID" in caught.value.fix


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
def test_a_key_that_was_pasted_with_its_line_is_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _set(monkeypatch, **{**KEYS, name: "pasted\n"})
    with pytest.raises(CredentialsError) as caught:
        S3Bucket(Account(), "bucket", lambda: None, lambda *_: None).connect(0)
    assert "pasted" not in str(caught.value)


@pytest.mark.parametrize(
    "environ",
    [
        *({"AWS_ENDPOINT_URL_S3": url} for url in ("nonsense", "http://[::x", "http://a b")),
        {"AWS_REGION": "us east"},
    ],
)
def test_an_endpoint_or_region_that_is_none_is_told(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    _set(monkeypatch, **KEYS, **environ)
    with pytest.raises(InvalidRequest, match="is no"):
        S3Bucket(Account(), "bucket", lambda: None, lambda *_: None).connect(0)


@pytest.mark.parametrize("url", ["nonsense", "https://[::1"])
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2"])
def test_an_endpoint_of_another_service_that_is_none_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    _set(monkeypatch, **{**KEYS, name: url})
    with pytest.raises(InvalidRequest, match="the address of ec2") as refused:
        Account().client_of("ec2", "us-east-1")
    assert "AWS_ENDPOINT_URL_EC2" in refused.value.fix


def test_a_token_that_was_pasted_with_its_line_is_sent_to_no_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set(monkeypatch, **KEYS, AWS_SESSION_TOKEN="one\ntwo")
    with pytest.raises(CredentialsError):
        Account().client_of("sts", "us-east-1")


def test_certificates_that_can_not_be_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **KEYS, AWS_CA_BUNDLE="/no/such/file.pem")
    with pytest.raises(InvalidRequest) as caught:
        S3Bucket(Account(), "bucket", lambda: None, lambda *_: None).connect(0)
    assert "AWS_CA_BUNDLE" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "region", "url"),
    [
        ("bucket", "eu-west-1", "https://bucket.s3.eu-west-1.amazonaws.com"),
        ("bucket", "cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn"),
        ("with.dots", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
    ],
)
def test_a_bucket_is_reached_where_it_lies(
    name: str, region: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """…whatever variables obstore would listen to that the SDK does not know."""
    _set(monkeypatch, **KEYS, AWS_REGION=region, AWS_ENDPOINT="http://127.0.0.1:1")
    store = S3Bucket(Account(), name, lambda: None, lambda *_: None).connect(0)
    assert store.config["endpoint_url_s3"] == url
    assert json.loads(store.config["virtual_hosted_style_request"]) == ("." not in name)
