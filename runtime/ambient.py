"""A bucket as a node reaches it: with the machine's own identity, through obstore alone.

obstore finds it where the SDKs would: the environment, a web identity, the metadata service. It
knows no profiles and no sign-on of people; the command line, which has the SDKs, does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llmcloud.runtime.azure_account import connection_of
from llmcloud.runtime.azure_names import refusal
from llmcloud.runtime.bucket_api import CUSTOM_TIME, BucketApi, LogMark, connection_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from obstore.store import AzureConfig, GCSCredential, S3Config

FIX = "Let the machine's own role read and write the bucket; locally, set the cloud's variables."


def ambient(scheme: str, name: str) -> BucketApi:
    """Return the bucket of a name, `account/container` on Azure."""
    kinds: dict[str, Callable[[str, str], BucketApi]] = {"s3": _S3, "gs": _Gcs, "az": _Azure}
    return kinds[scheme](f"{scheme}://{name}", name)


class _Ambient(BucketApi):
    credentials_fix = FIX
    endpoints: tuple[str, ...] = ()  # variables, the first that is set counts

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name

    def _endpoint(self) -> str:
        found = (os.environ.get(name, "") for name in self.endpoints)
        return next((each.rstrip("/") for each in found if each), "")


class _S3(_Ambient):
    hides_absent = True
    endpoints = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

    def connect(self, max_retries: int) -> Any:
        from obstore.store import S3Store

        endpoint = self._endpoint()
        own: S3Config = {"aws_endpoint_url_s3": endpoint} if endpoint else {}
        return S3Store(
            self.name,
            config=own,
            virtual_hosted_style_request=not endpoint and "." not in self.name,
            checksum_algorithm="CRC64NVME",
            unsigned_payload=True,
            **connection_options(endpoint, max_retries),
        )


class _Gcs(_Ambient):
    endpoints = ("STORAGE_EMULATOR_HOST",)
    condition = "version"
    log_mark = LogMark.TIME
    headers: Mapping[str, str] = {}

    def dated(self, at: str) -> BucketApi:
        made = _Gcs(self.url, self.name)
        made.headers = {CUSTOM_TIME: at}
        return made

    def connect(self, max_retries: int) -> Any:
        from obstore.store import GCSStore

        endpoint = self._endpoint()
        options = connection_options(endpoint, max_retries, headers=self.headers)
        if not endpoint:
            return GCSStore(self.name, **options)
        # Google's SDK needs no credentials there, either.
        return GCSStore(self.name, base_url=endpoint, credential_provider=_nobody, **options)


def _nobody() -> GCSCredential:
    return {"token": "nobody's", "expires_at": None}


class _Azure(_Ambient):
    endpoints = ("AZURE_STORAGE_SERVICE_ENDPOINT",)
    is_ordered = False

    def connect(self, max_retries: int) -> Any:
        from obstore.store import AzureStore

        account, _, container = self.name.partition("/")
        said = connection_of(account)
        endpoint = said.get("blobendpoint", "").rstrip("/") or self._endpoint()
        own: AzureConfig = {}
        if endpoint:
            own["endpoint"] = endpoint
        if key := said.get("accountkey"):
            own["account_key"] = key
        if token := said.get("sharedaccesssignature"):
            own["sas_key"] = token
        return AzureStore(
            container,
            account_name=account,
            config=own,
            **connection_options(endpoint, max_retries),
        )

    def refuses(self, key: str) -> str:
        return refusal(key)
