"""The real SDKs, pointed at the fake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import google.auth.credentials
import google.oauth2.credentials
from google.cloud import storage
from obstore.store import GCSStore

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = "project"


def storage_client(
    url: str, credentials: google.auth.credentials.Credentials | None = None
) -> storage.Client:
    """Return a google-cloud-storage client, without credentials unless some are given."""
    if credentials is None:
        credentials = google.auth.credentials.AnonymousCredentials()
    return storage.Client(PROJECT, credentials, client_options={"api_endpoint": url})


def token_credentials(token: str) -> google.auth.credentials.Credentials:
    """Return credentials that bear a token and can't get another."""
    return google.oauth2.credentials.Credentials(token)


def gcs_store(
    url: str,
    bucket: str,
    token: Callable[[], str] = lambda: "token",
    headers: dict[str, str] | None = None,
) -> GCSStore:
    """Return an obstore store; it asks for a token each time, since none lasts."""
    return GCSStore(
        bucket,
        config={"base_url": url},
        client_options={"allow_http": True, "default_headers": headers or {}},
        credential_provider=lambda: {"token": token(), "expires_at": None},
    )
