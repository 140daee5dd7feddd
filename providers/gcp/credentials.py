"""Who we are at Google, in which project and at which address: what Google's SDK would say."""

from __future__ import annotations

import os
import threading
import warnings
from datetime import UTC
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmcloud.core.connection import Waits
from llmcloud.core.endpoint import CONNECT_S, CONNECTIONS, READ_S, SEND_S, is_endpoint, is_safe
from llmcloud.providers.gcp.codes import NO_PROJECT_FIX
from llmcloud.providers.gcp.errors import translated
from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import GCSCredential

ADDRESS = "https://storage.googleapis.com"
NO_LOOK_UPS = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Account:
    """The credentials and settings that the SDK finds; made once a command, thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    @cached_property
    def emulator(self) -> str:
        """Return the URL of a Cloud Storage that is not Google's, or nothing."""
        return os.environ.get("STORAGE_EMULATOR_HOST", "")

    @cached_property
    def endpoint(self) -> str:
        """Return where Cloud Storage is, by the variables that the SDK knows, too."""
        named = self.emulator or os.environ.get("API_ENDPOINT_OVERRIDE", "") or ADDRESS
        if not is_endpoint(named):
            raise InvalidRequest(
                f"{named} is no address of a Cloud Storage.",
                fix="Write STORAGE_EMULATOR_HOST like http://127.0.0.1:9023, or unset it.",
            )
        if not self.emulator and not is_safe(named):  # which alone is asked without a token
            raise InvalidRequest(
                "The endpoint is no https:// URL: bytes and tokens would travel in the open.",
                where=named,
                fix="Set API_ENDPOINT_OVERRIDE to an https:// URL, or unset it.",
            )
        return named.rstrip("/")

    @property
    def project(self) -> str:
        """Return the project in which buckets are made and listed."""
        project = os.environ.get("GOOGLE_CLOUD_PROJECT") or self._who()[1]
        if not project:
            raise InvalidRequest("No Google project is set.", fix=NO_PROJECT_FIX)
        return project

    @property
    def payer(self) -> str:
        """Return the project that pays for requests, if not the bucket's own."""
        found = None if self.emulator else getattr(self._who()[0], "quota_project_id", None)
        return found or ""

    def provider(self) -> Callable[[], GCSCredential]:
        """Return what obstore asks for a token, now and whenever one is about to expire."""
        if self.emulator:
            return _nobody
        credentials = self._who()[0]
        with translated("Google"):
            from google.auth.transport.requests import Request

            request = Request()

        def provide() -> GCSCredential:
            # obstore renews a token as long before its end as the SDK does.
            with self._lock, translated("Google"):
                if not credentials.valid:
                    credentials.refresh(request)
                token, expiry = str(credentials.token), credentials.expiry
            return {"token": token, "expires_at": expiry.replace(tzinfo=UTC) if expiry else None}

        provide()  # what can't be had is told now, and in full
        return provide

    def session(self) -> Any:
        """Return the SDK's HTTP session: it bears our token, and tries again with a new one."""
        with self._lock, translated("Google"):
            return self._session

    def client(self) -> Any:
        """Return the SDK's client of Cloud Storage."""
        with self._lock, translated("Google"):
            return self._client

    @property
    def timeout_s(self) -> tuple[float, float]:
        """Return how long the session waits for a connection and for an answer."""
        return (SEND_S if self.endpoint.startswith("http:") else CONNECT_S, READ_S)

    @property
    def waits(self) -> Waits:
        """Return how long to wait for answers without the session."""
        return Waits(CONNECT_S, READ_S, SEND_S)

    @cached_property
    def _session(self) -> Any:
        from google.auth.transport.requests import AuthorizedSession
        from requests.adapters import HTTPAdapter

        session = AuthorizedSession(self._who()[0])  # type: ignore[no-untyped-call]
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=CONNECTIONS)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        # Proxies and certificates are the same for each request, and looking for them is slow.
        found = session.merge_environment_settings(self.endpoint, {}, None, None, None)
        session.proxies, session.verify = found["proxies"], found["verify"]
        session.trust_env = False
        return session

    @cached_property
    def _client(self) -> Any:
        # It would look each bucket up beside our requests, in a thread that retries for minutes.
        os.environ.setdefault(NO_LOOK_UPS, "true")
        from google.cloud import storage

        # The project is named where one is needed: most requests need none.
        return storage.Client(None, self._who()[0], _http=self._session)

    def _who(self) -> tuple[Any, str]:
        with self._lock, translated("Google"):
            return self._found

    @cached_property
    def _found(self) -> tuple[Any, str]:
        import google.auth
        from google.auth.credentials import AnonymousCredentials

        if self.emulator:
            return AnonymousCredentials(), ""  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():  # of people who use no project of their own for quota
            warnings.simplefilter("ignore", UserWarning)
            credentials, project = google.auth.default(scopes=[SCOPE])
        return credentials, project or ""


def _nobody() -> GCSCredential:
    return {"token": "nobody's", "expires_at": None}
