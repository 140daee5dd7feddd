"""The Cloud Storage buckets of a Google project."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from llmcloud.core.buckets import OURS, BucketInfo, Buckets, BucketWish
from llmcloud.providers.gcp import settings
from llmcloud.providers.gcp.bucket import GcsBucket
from llmcloud.providers.gcp.codes import DELETED, INSERTED, LISTED
from llmcloud.providers.gcp.credentials import Account
from llmcloud.providers.gcp.errors import reason_of, translated
from llmcloud.runtime.errors import Conflict, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.runtime.bucket_api import BucketApi

PAGE = 1000
AT_ONCE = 32  # objects that are deleted at the same time
RETRY_S = 60  # of one deletion among many


def make() -> Buckets:
    """Return the buckets that the credentials found here can reach."""
    return GcsBuckets(Account())


class GcsBuckets(Buckets):
    """Buckets through Google's SDK."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def open(self, name: str) -> BucketApi:
        return GcsBucket(self._account, name, functools.partial(self._make, name))

    def create(self, name: str, wish: BucketWish) -> BucketInfo:
        settings.check(name, wish)
        bucket = self._find(name)
        if bucket is None and self._insert(name, wish):
            return self._verified(name)
        bucket = bucket or self._found(name)
        self._check_may_change(bucket, wish)
        settings.apply(bucket, wish)
        with translated(f"gs://{name}", needs="storage.buckets.update"):
            bucket.patch(**self._once)
        return self._verified(name)

    def list(self) -> Iterator[BucketInfo]:
        with translated("gs://", needs="storage.buckets.list", specially=LISTED):
            project = self._account.project
            found = self._client.list_buckets(project=project, page_size=PAGE, **self._once)
            yield from map(self._info, found)

    def describe(self, name: str) -> BucketInfo:
        return self._info(self._found(name))

    def delete(self, name: str) -> None:
        from google.api_core import exceptions

        bucket = self._client.bucket(name)
        with translated(f"gs://{name}", needs="storage.buckets.delete", specially=DELETED):
            try:
                bucket.delete(**self._once)
            except exceptions.NotFound:
                return
            except exceptions.Conflict:
                if self._holds_something(name):
                    raise
                self._abort_uploads(name)
                bucket.delete(**self._once)

    def empty(self, name: str) -> int:
        count = 0
        needs = "storage.objects.list and storage.objects.delete"
        with translated(f"gs://{name}", needs=needs), ThreadPoolExecutor(AT_ONCE) as pool:
            found = self._client.list_blobs(
                name,
                versions=True,
                page_size=PAGE,
                fields="items(name,generation),nextPageToken",
                **self._once,
            )
            for page in found.pages:
                count += sum(pool.map(self._delete_version, page))
        self._abort_uploads(name)
        return count

    @property
    def _client(self) -> Any:
        return self._account.client()

    @property
    def _once(self) -> dict[str, Any]:
        return {"timeout": self._account.timeout_s, "retry": None}

    def _info(self, bucket: Any) -> BucketInfo:
        return settings.info(bucket, is_google=not self._account.emulator)

    def _make(self, name: str) -> None:
        """Create a bucket if it is absent; one that is there stays as it is, whoever made it."""
        try:
            is_absent = self._find(name) is None
        except Conflict:  # it can't be looked at; perhaps it can be written to
            return
        if is_absent:
            self.create(name, BucketWish())

    def _find(self, name: str) -> Any:
        """Return the SDK's bucket, None where there is none; Conflict for one out of reach."""
        from google.api_core import exceptions

        with translated(f"gs://{name}", needs="storage.buckets.get"):
            try:
                return self._client.get_bucket(name, **self._once)
            except exceptions.NotFound:
                return None
            except exceptions.Forbidden as error:
                if reason_of(error) != "forbidden":  # but billing, say
                    raise
                raise Conflict(
                    "There is such a bucket, and you may not look at it: most likely it is someone "
                    "else's.",
                    where=f"gs://{name}",
                    fix="Choose another name; if it is yours, you need storage.buckets.get on it.",
                ) from error

    def _found(self, name: str) -> Any:
        bucket = self._find(name)
        if bucket is None:
            raise NotFound(
                "There is no such bucket.", where=f"gs://{name}", fix="llmcloud buckets list gs://"
            )
        return bucket

    def _insert(self, name: str, wish: BucketWish) -> bool:
        """Create a bucket as it shall be with one request; tell if it was not there before."""
        from google.api_core import exceptions

        bucket = self._client.bucket(name)
        settings.apply(bucket, wish)
        with translated(f"gs://{name}", needs="storage.buckets.create", specially=INSERTED):
            try:
                self._client.create_bucket(
                    bucket,
                    project=self._account.project,
                    location=wish.region or None,
                    **self._once,
                )
            except exceptions.Conflict:
                if self._find(name) is None:  # nobody's, and not to be had
                    raise
                return False
        return True

    def _check_may_change(self, bucket: Any, wish: BucketWish) -> None:
        found = self._info(bucket)
        if not found.is_ours:
            raise Conflict(
                "You have this bucket, and it was not made by llmcloud: it stays as it is.",
                where=f"{found.url}, {found.region}",
                fix=f"Use it as it is, choose another name, or label it {OURS}=1 to have it"
                " managed.",
            )
        if wish.region and wish.region.lower() != found.region:
            raise Conflict(
                f"You have this bucket in {found.region}, and a bucket can't move.",
                where=found.url,
                fix=f"Use --region {found.region}, or choose another name.",
            )

    def _verified(self, name: str) -> BucketInfo:
        """Return what the bucket now is, read back."""
        found = self.describe(name)
        if found.is_private is False:
            raise Unavailable(
                "Public access is not prevented, though we asked for it.",
                where=found.url,
                fix=f"Try again, or look at it in the console; llmcloud buckets delete {found.url}",
            )
        return found

    def _holds_something(self, name: str) -> bool:
        found = self._client.list_blobs(name, versions=True, max_results=1, **self._once)
        return next(iter(found), None) is not None

    def _abort_uploads(self, name: str) -> None:
        for upload in self.open(name).unfinished(""):
            upload.abort()

    def _delete_version(self, blob: Any) -> int:
        """Delete one generation and return 1; 0 if somebody was faster."""
        from google.api_core import exceptions
        from google.cloud.storage.retry import DEFAULT_RETRY

        try:
            blob.delete(timeout=self._account.timeout_s, retry=DEFAULT_RETRY.with_timeout(RETRY_S))
        except exceptions.NotFound:
            return 0
        return 1
