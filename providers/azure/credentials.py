"""Who we are at a storage account of Azure, and where it is: what the Azure tools would say.

Importing Azure's SDK takes longer than most commands, so it is left alone where the environment
says it all.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import threading
import time
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmcloud.core.connection import Waits
from llmcloud.core.endpoint import (
    CONNECT_S,
    CONNECTIONS,
    READ_S,
    SEND_S,
    certificates,
    is_safe,
)
from llmcloud.providers.azure.codes import NO_CREDENTIALS_FIX
from llmcloud.providers.azure.errors import translated
from llmcloud.runtime.azure_account import connection_of
from llmcloud.runtime.errors import CredentialsError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import AzureCredential

SUFFIX = "core.windows.net"
SCOPE = "https://storage.azure.com/.default"  # in each of Azure's clouds
NAME = re.compile(r"[a-z0-9]{3,24}")
MARGIN_S = 300  # obstore and the SDK want another token when one has no longer to live


class Account:
    """One storage account, and the credentials for it; made once a command, thread-safe.

    What the environment says of another account is not for this one.
    """

    def __init__(self, name: str) -> None:
        if not NAME.fullmatch(name):
            raise InvalidRequest(
                f"{name!r} is no name of a storage account.",
                fix="3 to 24 small letters and digits: az://ACCOUNT/CONTAINER.",
            )
        self.name = name
        self.url = f"az://{name}"
        self._lock = threading.Lock()

    @cached_property
    def endpoint(self) -> str:
        """Return the URL of the account's Blob service."""
        said = self._connection
        protocol = said.get("defaultendpointsprotocol") or "https"
        suffix = said.get("endpointsuffix") or SUFFIX
        named = said.get("blobendpoint") or self._own("AZURE_STORAGE_SERVICE_ENDPOINT")
        url = (named or f"{protocol}://{self.name}.blob.{suffix}").rstrip("/")
        if not is_safe(url):
            raise InvalidRequest(
                "The endpoint is no https:// URL: bytes and tokens would travel in the open.",
                where=url,
                fix="Use https://; http:// is for emulators on this machine.",
            )
        return url

    @cached_property
    def authority(self) -> bytes | None:
        """Return the certificates to trust beside the system's, as PEM."""
        return certificates(os.environ.get("REQUESTS_CA_BUNDLE", ""), "REQUESTS_CA_BUNDLE")

    @property
    def waits(self) -> Waits:
        """Return how long to wait for answers without the SDK."""
        return Waits(CONNECT_S, READ_S, SEND_S)

    def provider(self) -> Callable[[], AzureCredential]:
        """Return what obstore asks for credentials, now and whenever they have expired."""
        if key := self._key:
            return lambda: {"access_key": key, "expires_at": None}
        if token := self._sas_token:
            return lambda: {"sas_token": token, "expires_at": None}
        credential = self._sign_in
        with translated(self.url):
            credential.get_token(SCOPE)  # what can't be had is told now, and in full

        def provide() -> AzureCredential:
            with translated(self.url):
                found = credential.get_token(SCOPE)
            return {
                "token": found.token,
                "expires_at": datetime.fromtimestamp(found.expires_on, UTC),
            }

        return provide

    def client(self) -> Any:
        """Return the SDK's client of the account, which tries nothing again by itself."""
        with self._lock:
            return self._client

    @cached_property
    def credential(self) -> Any:
        """Return the SDK's own chain: environment, workload and managed identity, az login."""
        from azure.identity import DefaultAzureCredential

        return _Remembered(DefaultAzureCredential())

    @cached_property
    def _client(self) -> Any:
        import requests
        from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import BlobServiceClient
        from requests.adapters import HTTPAdapter

        session = requests.Session()
        session.mount(self.endpoint, HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=0))
        transport = RequestsTransport(
            session=session,
            connection_timeout=SEND_S if self.endpoint.startswith("http:") else CONNECT_S,
            read_timeout=READ_S,
        )
        credential: Any
        if self._key:
            credential = AzureNamedKeyCredential(self.name, self._key)
        elif self._sas_token:
            credential = AzureSasCredential(self._sas_token)
        else:
            credential = self._sign_in
        return BlobServiceClient(
            self.endpoint, credential=credential, transport=transport, retry_total=0
        )

    @property
    def _sign_in(self) -> Any:
        """Return the credential whose tokens may travel to the endpoint."""
        if self.endpoint.startswith("http:"):
            raise CredentialsError(
                "There are no credentials that may travel in the open, as to this endpoint.",
                where=self.endpoint,
                fix="Set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, or use https://.",
            )
        return self.credential

    @cached_property
    def _key(self) -> str:
        key = self._connection.get("accountkey") or ""
        if not self._connection:
            key = self._own("AZURE_STORAGE_KEY")
        try:
            base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError) as error:
            raise CredentialsError(
                "The account's key is not valid: it is not base64.",
                where=self.url,
                fix=NO_CREDENTIALS_FIX,
            ) from error
        return key

    @cached_property
    def _sas_token(self) -> str:
        token = self._connection.get("sharedaccesssignature") or ""
        if not self._connection:
            token = self._own("AZURE_STORAGE_SAS_TOKEN")
        return token.removeprefix("?")

    @cached_property
    def _connection(self) -> dict[str, str]:
        return connection_of(self.name)

    def _own(self, variable: str) -> str:
        """Return a variable that is not said to be another account's."""
        if os.environ.get("AZURE_STORAGE_ACCOUNT", self.name) != self.name:
            return ""
        return os.environ.get(variable, "")


class _Remembered:
    """A TokenCredential that asks another one, which may start a program each time (az)."""

    def __init__(self, inner: Any) -> None:
        for name in ("azure", "msal"):  # what goes wrong is raised, and told but once
            logging.getLogger(name).addHandler(logging.NullHandler())
        self._inner = inner
        self._tokens: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()

    def get_token(self, *scopes: str, claims: str | None = None, **options: Any) -> Any:
        with self._lock:
            found = self._tokens.get(scopes)
            if found is None or claims or found.expires_on < time.time() + MARGIN_S:
                found = self._inner.get_token(*scopes, claims=claims, **options)
                self._tokens[scopes] = found
            return found
