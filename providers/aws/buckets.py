"""The S3 buckets of an AWS account."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from llmcloud.core.buckets import OURS, BucketInfo, Buckets, BucketWish
from llmcloud.providers.aws.bucket import S3Bucket
from llmcloud.providers.aws.credentials import DEFAULT_REGION, Account
from llmcloud.providers.aws.errors import Refusal, code_of, failure, translated
from llmcloud.providers.aws.settings import Settings, is_ours, seen
from llmcloud.runtime.errors import Conflict, NotFound, PermissionDenied, StoreGone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmcloud.runtime.bucket_api import BucketApi

PAGE = 1000
AT_ONCE = 16  # buckets that are asked about at the same time
TRIES = 4  # of requests that, made twice, do the same as once


def make() -> Buckets:
    """Return the buckets that the credentials found here can reach."""
    return S3Buckets(Account())


class S3Buckets(Buckets):
    """Buckets through the AWS SDK."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def open(self, name: str) -> BucketApi:
        return S3Bucket(self._account, name, functools.partial(self._make, name))

    def environ(self) -> Mapping[str, str]:
        found = self._account.provider()()
        known = {
            "AWS_ACCESS_KEY_ID": found["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": found["secret_access_key"],
            "AWS_SESSION_TOKEN": found.get("token"),
            "AWS_REGION": self._account.region,
            "AWS_ENDPOINT_URL_S3": self._account.endpoint,
        }
        return {name: value for name, value in known.items() if value}

    def create(self, name: str, wish: BucketWish) -> BucketInfo:
        url = f"s3://{name}"
        region = self._region(name)
        if region is None:
            region = self._create(name, wish.region or self._account.region)
        elif not is_ours(self._settings(name, region).tags()):
            raise Conflict(
                "You have this bucket, and it was not made by llmcloud: it stays as it is.",
                where=f"{url}, {region}",
                fix=f"Use it as it is, choose another name, or tag it {OURS}=1 to have it managed.",
            )
        if wish.region and region != wish.region:
            raise Conflict(
                f"You have this bucket in {region}, and a bucket can't move.",
                where=url,
                fix=f"Use --region {region}, or choose another name.",
            )
        self._settings(name, region).apply(wish)
        return self._describe(name, region)

    def list(self) -> Iterator[BucketInfo]:
        pages = self._client.get_paginator("list_buckets")
        with translated("s3://"), ThreadPoolExecutor(AT_ONCE) as pool:
            for page in pages.paginate(PaginationConfig={"PageSize": PAGE}):
                found = page.get("Buckets", ())
                yield from (each for each in pool.map(self._listed, found) if each)

    def describe(self, name: str) -> BucketInfo:
        region = self._region(name)
        if region is None:
            raise NotFound(
                "There is no such bucket.", where=f"s3://{name}", fix="llmcloud buckets list s3://"
            )
        return self._describe(name, region)

    def describe_region(self, name: str) -> str:
        """Return where a bucket lies; StoreGone where there is none."""
        found = self._region(name)
        if found is None:
            raise StoreGone("There is no such bucket.", where=f"s3://{name}")
        return found

    def delete(self, name: str) -> None:
        from botocore.exceptions import ClientError

        with translated(f"s3://{name}"):
            try:
                self._client.delete_bucket(Bucket=name)
            except ClientError as error:
                if code_of(error) == "NoSuchBucket":
                    return
                if code_of(error) != "BucketNotEmpty" or self._holds_something(name):
                    raise
                self._abort_uploads(name)
                self._client.delete_bucket(Bucket=name)

    def empty(self, name: str) -> int:
        count = 0
        pages = self._client.get_paginator("list_object_versions")
        with translated(f"s3://{name}"):
            for page in pages.paginate(Bucket=name):
                found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                self._delete_versions(name, found)
                count += len(found)
        self._abort_uploads(name)
        return count

    @property
    def _client(self) -> Any:
        return self._account.client(self._account.region, TRIES)

    def _settings(self, name: str, region: str) -> Settings:
        return Settings(
            self._account.client(region, TRIES), name, is_aws=not self._account.endpoint
        )

    def _make(self, name: str) -> None:
        """Create a bucket if it is absent; one that is there stays as it is, whoever made it."""
        try:
            is_absent = self._region(name) is None
        except Conflict:  # it can't be looked at; perhaps it can be written to
            return
        if is_absent:
            self.create(name, BucketWish())

    def _region(self, name: str) -> str | None:
        """Return where a bucket lies, None where there is none; Conflict for one out of reach."""
        from botocore.exceptions import ClientError

        with translated(f"s3://{name}"):
            try:
                found = self._client.head_bucket(Bucket=name)
            except ClientError as error:  # the answer to HEAD has no body that would say more
                if code_of(error) in {"404", "NoSuchBucket"}:
                    return None
                if code_of(error) != "403":
                    raise
                raise Conflict(
                    "There is such a bucket, and you may not look at it: most likely it is someone "
                    "else's.",
                    where=f"s3://{name}",
                    fix="Choose another name; if it is yours, you need s3:ListBucket on it.",
                ) from error
        headers = found["ResponseMetadata"]["HTTPHeaders"]
        return str(headers.get("x-amz-bucket-region") or self._account.region)

    def _create(self, name: str, region: str) -> str:
        """Create a bucket and return its region: another one, if somebody was faster."""
        from botocore.exceptions import ClientError

        # us-east-1 is the one region that must not be named.
        place = {} if region == DEFAULT_REGION else {"LocationConstraint": region}
        options = {"CreateBucketConfiguration": place} if place else {}
        with translated(f"s3://{name}"):
            try:
                self._account.client(region, TRIES).create_bucket(Bucket=name, **options)
            except ClientError as error:
                if code_of(error) != "BucketAlreadyOwnedByYou":
                    raise
                return self._region(name) or region
        return region

    def _describe(self, name: str, region: str, created_at: float | None = None) -> BucketInfo:
        settings = self._settings(name, region)
        tags = seen(settings.tags)
        return BucketInfo(
            url=f"s3://{name}",
            region=region,
            created_at=created_at,
            is_ours=is_ours(tags),
            is_private=seen(settings.is_private),
            is_encrypted=seen(settings.is_encrypted),
            has_versioning=seen(settings.has_versioning),
            tags=tags or {},
        )

    def _listed(self, found: dict[str, Any]) -> BucketInfo | None:
        """Return what is known of a bucket in a listing; None if it has gone since."""
        name, region = found["Name"], found.get("BucketRegion")
        created_at = found["CreationDate"].timestamp()
        try:
            region = region or self._region(name)
            return self._describe(name, region, created_at) if region else None
        except StoreGone:
            return None
        except (Conflict, PermissionDenied):
            return BucketInfo(f"s3://{name}", region or "", created_at)

    def _holds_something(self, name: str) -> bool:
        found = self._client.list_object_versions(Bucket=name, MaxKeys=1)
        return bool(found.get("Versions") or found.get("DeleteMarkers"))

    def _abort_uploads(self, name: str) -> None:
        for upload in self.open(name).unfinished(""):
            upload.abort()

    def _delete_versions(self, name: str, found: Any) -> None:
        for start in range(0, len(found), PAGE):
            batch = [
                {"Key": each["Key"], "VersionId": each["VersionId"]}
                for each in found[start : start + PAGE]
            ]
            answer = self._client.delete_objects(
                Bucket=name, Delete={"Objects": batch, "Quiet": True}
            )
            for error in answer.get("Errors", ()):
                refusal = Refusal(error["Code"], "s3:DeleteObjectVersion")
                raise failure(refusal, f"s3://{name}", error["Key"])
