"""The bucket that jobs lie in when they name none: one a region, the account's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.core.buckets import BucketWish
from llmcloud.providers.aws.buckets import S3Buckets
from llmcloud.providers.aws.errors import translated
from llmcloud.runtime.errors import Conflict, NotFound, PermissionDenied

if TYPE_CHECKING:
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.identity import Identity


def default(account: Account, identity: Identity, region: str) -> str:
    """Return the URL of a region's bucket, made if it is missing.

    Its name can be guessed by anyone: Conflict when somebody else has it.
    """
    name = f"llmcloud-{identity.caller.account}-{region}"
    url = f"s3://{name}"
    try:
        _expect_ours(account, name, identity.caller.account)
    except NotFound:
        S3Buckets(account).create(name, BucketWish(region=region))
    except PermissionDenied as failure:
        raise Conflict(
            "The bucket that your jobs would lie in is somebody else's, or may not be looked at.",
            where=url,
            fix="Name your own with `store: s3://…`; if it is yours, you need s3:ListBucket.",
        ) from failure
    return url


def region(account: Account, url: str) -> str:
    """Return where a store's bucket lies."""
    return S3Buckets(account).describe_region(url.removeprefix("s3://").partition("/")[0])


def _expect_ours(account: Account, name: str, owner: str) -> None:
    with translated(f"s3://{name}"):
        client = account.client(account.region)
        client.head_bucket(Bucket=name, ExpectedBucketOwner=owner)
