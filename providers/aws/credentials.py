"""Who we are at AWS, in which region and through which endpoint: what the AWS SDK would say.

Importing that SDK takes longer than most commands, so it is left alone where the environment says
it all.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcloud.core.connection import Waits
from llmcloud.core.endpoint import (
    CONNECT_S,
    CONNECTIONS,
    READ_S,
    SEND_S,
    certificates,
    is_endpoint,
)
from llmcloud.providers.aws.codes import NO_CREDENTIALS_FIX
from llmcloud.providers.aws.errors import ask_elsewhere, name_service, translated
from llmcloud.runtime.errors import CredentialsError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from obstore.store import S3Credential

DEFAULT_REGION = "us-east-1"  # the SDK's, for S3
TRIES = 8  # some minute of throttling, with the SDK's pauses
REGION = re.compile(r"[\w-]+", re.ASCII)
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105 - the name of a variable
# The SDK renews credentials that have less than ten minutes to live; so these are valid that long.
VALID = timedelta(minutes=5)


class Account:
    """The credentials and settings that the SDK finds; made once a command, thread-safe."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        self._lock = threading.RLock()

    @cached_property
    def region(self) -> str:
        """Return the region that is used where nothing else is known."""
        named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        found = named or self._configured("region") or DEFAULT_REGION
        if not REGION.fullmatch(found):
            raise InvalidRequest(f"{found!r} is no region.", fix="Set AWS_REGION like us-east-1.")
        return found

    @cached_property
    def endpoint(self) -> str:
        """Return the URL of an S3 that is not AWS's own, or nothing."""
        found = self._named_endpoint().rstrip("/")
        if found and not is_endpoint(found):
            raise InvalidRequest(
                f"{found!r} is no address of an S3.",
                fix="Write AWS_ENDPOINT_URL_S3 like https://host:9000, or unset it.",
            )
        return found

    def _named_endpoint(self) -> str:
        if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
            return ""
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
            if url := os.environ.get(name):
                return url
        return self._configured_endpoint()

    @cached_property
    def authority(self) -> bytes | None:
        """Return the certificates to trust beside the system's, as PEM."""
        named = os.environ.get("AWS_CA_BUNDLE") or self._configured("ca_bundle")
        return certificates(named, "AWS_CA_BUNDLE")

    @property
    def waits(self) -> Waits:
        """Return how long to wait for answers."""
        return Waits(CONNECT_S, READ_S, SEND_S)

    def provider(self) -> Callable[[], S3Credential]:
        """Return what obstore asks for credentials, now and whenever they have expired."""
        if all(os.environ.get(name) for name in KEYS):
            _check_keys(*(os.environ.get(name, "") for name in (*KEYS, TOKEN)))
            own = _from_environ()  # once: it is asked for with each request
            return lambda: own
        with translated("AWS"):
            from botocore.credentials import RefreshableCredentials

            found = self._session.get_credentials()
            if found is None:
                raise CredentialsError("There are no AWS credentials.", fix=NO_CREDENTIALS_FIX)
            _check_keys(*found.get_frozen_credentials()[:3])  # what can't be had is told in full
        is_refreshed = isinstance(found, RefreshableCredentials)

        def provide() -> S3Credential:
            frozen = found.get_frozen_credentials()
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                "expires_at": datetime.now(UTC) + VALID if is_refreshed else None,
            }

        return provide

    def client(self, region: str, tries: int = 1) -> Any:
        """Return the SDK's client of S3 in a region; but for `tries`, it tries nothing again."""
        from botocore.config import Config

        with self._lock, translated("AWS"):  # making one is not thread-safe, using it is
            key = f"{region} {tries}"
            if key not in self._clients:
                settings = Config(
                    max_pool_connections=CONNECTIONS,
                    connect_timeout=SEND_S if self.endpoint.startswith("http:") else CONNECT_S,
                    read_timeout=READ_S,
                    tcp_keepalive=True,
                    retries={"mode": "standard", "total_max_attempts": tries},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    s3={"payload_signing_enabled": False},
                )
                self._clients[key] = self._session.create_client(
                    "s3", region, endpoint_url=self.endpoint or None, config=settings
                )
            return self._clients[key]

    def client_of(self, service: str, region: str = "") -> Any:
        """Return the SDK's client of another service, which tries again what was not answered.

        What is made by such requests is named or tokened, so that twice is once.
        """
        from botocore.config import Config

        key = f"{service} {region}"
        with self._lock, translated("AWS"), _usable_endpoint(service):
            if key not in self._clients:
                _check_keys(*(os.environ.get(name, "") for name in (*KEYS, TOKEN)))
                settings = Config(
                    max_pool_connections=CONNECTIONS,
                    connect_timeout=CONNECT_S,
                    read_timeout=READ_S,
                    tcp_keepalive=True,
                    retries={"mode": "standard", "total_max_attempts": TRIES},
                )
                made = self._session.create_client(service, region or self.region, config=settings)
                its = made.meta.service_model.service_id.hyphenize()
                made.meta.events.register_first(f"needs-retry.{its}", ask_elsewhere)
                self._clients[key] = made
            return self._clients[key]

    @cached_property
    def _session(self) -> Any:
        import botocore.session

        session = botocore.session.Session()
        session.register("after-call", name_service)
        return session

    def _configured(self, name: str) -> str:
        """Return what the user's profile says, if there is any."""
        if not self._has_profile:
            return ""
        with translated("AWS"):
            return str(self._session.get_config_variable(name) or "")

    def _configured_endpoint(self) -> str:
        if not self._has_profile:
            return ""
        with translated("AWS"):
            if self._session.get_config_variable("ignore_configured_endpoint_urls"):
                return ""
            profile = self._session.get_scoped_config()
            services = self._session.full_config.get("services", {})
            own = services.get(profile.get("services"), {}).get("s3", {})
        return str(own.get("endpoint_url") or profile.get("endpoint_url") or "")

    @cached_property
    def _has_profile(self) -> bool:
        named = os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"
        return Path(named).expanduser().is_file()


def _from_environ() -> S3Credential:
    return {
        "access_key_id": os.environ[KEYS[0]],
        "secret_access_key": os.environ[KEYS[1]],
        "token": os.environ.get(TOKEN) or None,
        "expires_at": None,
    }


@contextlib.contextmanager
def _usable_endpoint(service: str) -> Iterator[None]:
    """Say which setting is meant when the SDK raises a plain ValueError for an address."""
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except BotoCoreError:  # some of which are one as well
        raise
    except ValueError as error:
        raise InvalidRequest(
            f"What is set as the address of {service} is none: {error}.",
            where="AWS",
            fix=f"Unset AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_{service.upper()}.",
        ) from error


def _check_keys(*keys: str | None) -> None:
    """Raise CredentialsError for one that can't be sent, like one that was pasted with its line."""
    for key in keys:
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise CredentialsError(
                "The AWS credentials hold a character that no key has: a space, or a line's end.",
                fix="Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN again.",
            )
