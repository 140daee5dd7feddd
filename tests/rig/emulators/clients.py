"""The vendors' own clients and obstore's stores, each on an emulator; nothing is read from here.

Neither this machine's credentials nor its settings take part.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.rig.emulators import tokens
from tests.rig.emulators.catalog import ACCOUNT, PROJECT, REGION

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import AccessToken
    from obstore.store import AzureStore, S3Store
    from tests.rig.emulators.catalog import Emulator


def s3_client(emulator: Emulator) -> Any:
    """Return boto3's client of S3, which tries nothing twice."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=emulator.url,
        region_name=REGION,
        aws_access_key_id=emulator.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=emulator.environ["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def s3_store(emulator: Emulator, bucket: str, **config: Any) -> S3Store:
    """Return a bucket as obstore sees it."""
    from obstore.store import S3Store

    return S3Store(
        bucket,
        endpoint=emulator.url,
        region=REGION,
        access_key_id=emulator.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=emulator.environ["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
        **config,
    )


def blob_client(emulator: Emulator, credential: object = None) -> Any:
    """Return azure-storage-blob's client: with tokens over https, else with the account's key."""
    from azure.storage.blob import BlobServiceClient

    if emulator.authority:
        return BlobServiceClient(
            emulator.url,
            credential=credential or tokens.Credential(),
            connection_verify=str(emulator.authority),
            retry_total=0,
        )
    named = {"account_name": ACCOUNT, "account_key": emulator.key}
    return BlobServiceClient(emulator.url, credential=credential or named, retry_total=0)


def azure_store(
    emulator: Emulator, container: str, mint: Callable[[], AccessToken] = tokens.mint
) -> AzureStore:
    """Return a container as obstore sees it: with tokens over https, else with the key."""
    from obstore.store import AzureStore

    def bearer() -> Any:
        token = mint()
        expires_at = datetime.fromtimestamp(token.expires_on, UTC)
        return {"token": token.token, "expires_at": expires_at}

    if emulator.authority:
        return AzureStore(
            container,
            account_name=ACCOUNT,
            endpoint=emulator.url,
            credential_provider=bearer,
            client_options={"root_certificate": emulator.authority.read_bytes()},
        )
    return AzureStore(
        container,
        account_name=ACCOUNT,
        account_key=emulator.key,
        endpoint=emulator.url,
        client_options={"allow_http": True},
    )


def gcs_client(emulator: Emulator) -> Any:
    """Return google-cloud-storage's client; obstore speaks XML, which no emulator here does."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    return storage.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": emulator.url},
    )
