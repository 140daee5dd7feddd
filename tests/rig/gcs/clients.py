"""The real SDKs, pointed at the fake."""

from __future__ import annotations

from datetime import UTC, datetime
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
    """Return an obstore store that asks for a token at each request.

    A token without an end is asked for once and kept, even when it is refused with 401; one that
    ends within minutes is asked for again.
    """
    return GCSStore(
        bucket,
        config={"base_url": url},
        client_options={"allow_http": True, "default_headers": headers or {}},
        credential_provider=lambda: {"token": token(), "expires_at": datetime.now(UTC)},
    )
