"""The S3 buckets of an AWS account."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from llmcloud.core.buckets import BucketInfo, Buckets, BucketWish
from llmcloud.providers.aws.bucket import S3Bucket
from llmcloud.providers.aws.credentials import Account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.runtime.bucket_api import BucketApi


def make() -> Buckets:
    """Return the buckets that the credentials found here can reach."""
    return S3Buckets(Account())


class S3Buckets(Buckets):
    """Buckets through the AWS SDK."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def open(self, name: str) -> BucketApi:
        return S3Bucket(self._account, name, functools.partial(self.create, name, BucketWish()))

    def create(self, name: str, wish: BucketWish) -> BucketInfo:
        client = self._account.client(wish.region or self._account.region)
        client.create_bucket(Bucket=name)
        return BucketInfo(f"s3://{name}", self._account.region)

    def list(self) -> Iterator[BucketInfo]:
        raise NotImplementedError

    def describe(self, name: str) -> BucketInfo:
        raise NotImplementedError

    def delete(self, name: str) -> None:
        raise NotImplementedError

    def empty(self, name: str) -> int:
        raise NotImplementedError
