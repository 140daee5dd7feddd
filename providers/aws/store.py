"""The bucket that jobs lie in when they name none: one a region, the account's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.core.buckets import BucketWish
from llmcloud.providers.aws.buckets import TRIES, S3Buckets
from llmcloud.providers.aws.errors import translated
from llmcloud.runtime.errors import Conflict, NotFound, PermissionDenied

if TYPE_CHECKING:
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.identity import Identity


def default(account: Account, identity: Identity, region: str) -> str:
    """Return the URL of a region's bucket, made if it is missing."""
    if not is_there(account, identity, region):
        S3Buckets(account).create(name(identity, region), BucketWish(region=region))
    return f"s3://{name(identity, region)}"


def name(identity: Identity, region: str) -> str:
    """Return what a region's bucket is called."""
    return f"llmcloud-{identity.caller.account}-{region}"


def is_there(account: Account, identity: Identity, region: str) -> bool:
    """Tell whether a region has its bucket.

    Its name can be guessed by anyone: Conflict when somebody else has it.
    """
    bucket = name(identity, region)
    try:
        _expect_ours(account, bucket, identity.caller.account)
    except NotFound:
        return False
    except PermissionDenied as failure:
        raise Conflict(
            "The bucket that your jobs would lie in is somebody else's, or may not be looked at.",
            where=f"s3://{bucket}",
            fix="Name your own with `store: s3://…`; if it is yours, you need s3:ListBucket.",
        ) from failure
    return True


def region(account: Account, url: str) -> str:
    """Return where a store's bucket lies."""
    return S3Buckets(account).describe_region(url.removeprefix("s3://").partition("/")[0])


def _expect_ours(account: Account, name: str, owner: str) -> None:
    with translated(f"s3://{name}"):
        client = account.client(account.region, TRIES)
        client.head_bucket(Bucket=name, ExpectedBucketOwner=owner)
