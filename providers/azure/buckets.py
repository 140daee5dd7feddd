"""The containers of Azure's storage accounts."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
from typing import TYPE_CHECKING, Any

from llmcloud.core.buckets import OURS, BucketInfo, Buckets, BucketWish
from llmcloud.providers.azure.bucket import AzureBucket
from llmcloud.providers.azure.credentials import Account
from llmcloud.providers.azure.errors import code_of, translate, translated
from llmcloud.providers.azure.settings import AccountSettings
from llmcloud.runtime.azure_account import account_of, connection
from llmcloud.runtime.errors import (
    Conflict,
    CredentialsError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    StoreGone,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llmcloud.runtime.bucket_api import BucketApi

BATCH = 256  # as many as Azure takes in one request
ABSENT = {"ContainerNotFound", "ContainerBeingDeleted"}


def make() -> Buckets:
    """Return the buckets that the credentials found here can reach."""
    return AzureBuckets()


class AzureBuckets(Buckets):
    """Containers through Azure's SDK; a bucket's name is `account/container`."""

    def __init__(self) -> None:
        self._account = functools.cache(Account)
        self._settings = functools.cache(lambda name: AccountSettings(self._account(name)))

    def open(self, name: str) -> BucketApi:
        account, container = self._parts(name)
        return AzureBucket(account, container, functools.partial(self._make, name))

    def environ(self) -> Mapping[str, str]:
        return {"AZURE_USE_AZURE_CLI": "true"} if shutil.which("az") else {}

    def create(self, name: str, wish: BucketWish) -> BucketInfo:
        account, _, container = name.partition("/")
        settings = self._settings(account)
        settings.check(wish)
        found = self._properties(name)
        if found is None:
            found = self._create(name, wish)
        if OURS not in found.metadata:
            raise Conflict(
                "You have this bucket, and it was not made by llmcloud: it stays as it is.",
                where=f"az://{name}",
                fix=f"Use it as it is, choose another name, or give it the metadata {OURS}=1 to"
                " have it managed.",
            )
        settings.apply(container, wish)
        return self._apply(name, found, wish)

    def list(self) -> Iterator[BucketInfo]:
        name = os.environ.get("AZURE_STORAGE_ACCOUNT") or account_of(connection())
        if not name:
            raise InvalidRequest(
                "Azure lists the buckets of one storage account, and none is named.",
                where="az://",
                fix="Set AZURE_STORAGE_ACCOUNT; az storage account list shows them.",
            )
        account = self._account(name)
        seen = self._seen(name)
        with translated(account.url):
            for each in account.client().list_containers(include_metadata=True):
                yield _info(f"{name}/{each.name}", each, *seen)

    def describe(self, name: str) -> BucketInfo:
        found = self._properties(name)
        if found is None:
            raise NotFound(
                "There is no such bucket.", where=f"az://{name}", fix="llmcloud buckets list az://"
            )
        return _info(name, found, *self._seen(name.partition("/")[0]))

    def delete(self, name: str) -> None:
        """Delete one that is empty, its unfinished uploads with it; Conflict when it is not.

        Azure deletes containers with all that is in them: what is written between our look and
        the deletion goes, too.
        """
        with translated(f"az://{name}"):
            try:
                if self._holds_something(name):
                    raise Conflict(
                        "The bucket is not empty.",
                        where=f"az://{name}",
                        fix="Add --force to delete all that is in it, old versions too.",
                    )
                self._container(name).delete_container()
            except _sdk().ResourceNotFoundError as error:
                _pass_absent(error)
            except _sdk().ResourceExistsError as error:
                _pass_absent(error)

    def empty(self, name: str) -> int:
        """Delete all objects and their versions, and return how many."""
        container = self._container(name)
        count = 0
        with translated(f"az://{name}"):
            # The newest first, snapshots with it: then it is a version like the others.
            blobs = ({"name": each.name} for each in container.list_blobs())
            count += self._delete_all(name, blobs, delete_snapshots="include")
            versions = (
                {"name": each.name, "version_id": each.version_id}
                for each in container.list_blobs(include=["versions"])
                if each.version_id
            )
            count += self._delete_all(name, versions)
        return count

    def _parts(self, name: str) -> tuple[Account, str]:
        account, _, container = name.partition("/")
        return self._account(account), container

    def _container(self, name: str) -> Any:
        account, container = self._parts(name)
        return account.client().get_container_client(container)

    def _properties(self, name: str) -> Any:
        """Return what Azure says of a container, None where there is none."""
        with translated(f"az://{name}"):
            try:
                return self._container(name).get_container_properties()
            except _sdk().HttpResponseError as error:
                if code_of(error) != "ContainerNotFound":
                    raise
        return None

    def _make(self, name: str) -> None:
        """Create a bucket if it is absent; one that is there stays as it is, whoever made it."""
        if self._properties(name) is None:
            self.create(name, BucketWish())

    def _create(self, name: str, wish: BucketWish) -> Any:
        """Create a container; if somebody was faster, it is his."""
        with translated(f"az://{name}"):
            try:
                self._container(name).create_container(metadata={**wish.tags, OURS: "1"})
            except _sdk().ResourceExistsError as error:
                if code_of(error) != "ContainerAlreadyExists":
                    raise
        found = self._properties(name)
        if found is None:
            raise StoreGone("The bucket was deleted as soon as it was made.", where=f"az://{name}")
        return found

    def _apply(self, name: str, found: Any, wish: BucketWish) -> BucketInfo:
        """Bring a container of ours to what is wished, and check that it is so."""
        container = self._container(name)
        with translated(f"az://{name}"):
            if not wish.tags.items() <= found.metadata.items():
                container.set_container_metadata({**found.metadata, **wish.tags})
            if found.public_access is not None:
                container.set_container_access_policy(signed_identifiers={}, public_access=None)
        made = self.describe(name)
        if not made.is_private:
            raise Unavailable(
                "The bucket is open to the public, though we asked for the contrary.",
                where=made.url,
                fix=f"Try again, or llmcloud buckets delete {made.url}",
            )
        return made

    def _holds_something(self, name: str) -> bool:
        for include in (["snapshots"], ["versions"]):
            found = self._container(name).list_blobs(include=include, results_per_page=1)
            if next(iter(found), None) is not None:
                return True
        return False

    def _delete_all(self, name: str, blobs: Iterable[dict[str, str]], **options: str) -> int:
        count = 0
        blobs = iter(blobs)
        while batch := list(itertools.islice(blobs, BATCH)):
            answers = self._container(name).delete_blobs(
                *({**each, **options} for each in batch), raise_on_any_failure=False
            )
            for blob, answer in zip(batch, answers, strict=True):
                if answer.status_code >= 300 and answer.status_code != 404:
                    error = _sdk().HttpResponseError(response=answer)
                    raise translate(error, f"az://{name}", blob["name"])
            count += len(batch)
        return count

    def _seen(self, account: str) -> tuple[str, bool | None]:
        """Return an account's region and whether it keeps versions, if we may know."""
        settings = self._settings(account)
        if not settings.can_be_asked:
            return "", None
        try:
            return settings.region, settings.has_versioning
        except (PermissionDenied, NotFound, CredentialsError):
            return "", None


def _sdk() -> Any:
    import azure.core.exceptions

    return azure.core.exceptions


def _pass_absent(error: Any) -> None:
    if code_of(error) not in ABSENT:
        raise error


def _info(name: str, found: Any, region: str, has_versioning: bool | None) -> BucketInfo:
    metadata = found.metadata or {}
    return BucketInfo(
        url=f"az://{name}",
        region=region,
        is_ours=OURS in metadata,
        is_private=found.public_access is None,
        is_encrypted=True,  # Azure encrypts all, and knows no other way
        has_versioning=has_versioning,
        tags=metadata,
    )
