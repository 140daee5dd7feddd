"""What an S3 bucket is set to: who may see it, encryption, versions, lifecycle, tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmcloud.core.buckets import OURS
from llmcloud.providers.aws.errors import code_of, translated
from llmcloud.runtime.bucket_api import LOG_PREFIX, LOG_TAG
from llmcloud.runtime.errors import Failure, PermissionDenied, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmcloud.core.buckets import BucketWish

BLOCKED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
ENCRYPTED = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
# What a bucket answers that was never set, and services like S3 that lack the setting.
NOT_SET = {
    "NoSuchPublicAccessBlockConfiguration",
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchLifecycleConfiguration",
    "NoSuchTagSet",
}
LACKING = {"NotImplemented", "MethodNotAllowed", "XNotImplemented"}


class Settings:
    """The settings of one bucket, through the SDK's client for its region."""

    def __init__(self, client: Any, name: str, *, is_aws: bool) -> None:
        self._client = client
        self._bucket = {"Bucket": name}
        self._url = f"s3://{name}"
        self._is_aws = is_aws

    def apply(self, wish: BucketWish) -> None:
        """Bring the bucket to what is wished, and check that it is so; safe to do again."""
        # First: what is ours can be mended by creating it again.
        wanted = {**self.tags(), OURS: "1", **wish.tags}
        tags = {"TagSet": [{"Key": key, "Value": value} for key, value in wanted.items()]}
        self._put(self._client.put_bucket_tagging, Tagging=tags)
        self._block_public_access()
        self._encrypt()
        if wish.versioning:
            enabled = {"Status": "Enabled"}
            self._put(self._client.put_bucket_versioning, VersioningConfiguration=enabled)
        others = [rule for rule in self._rules() if not rule.get("ID", "").startswith(OURS)]
        rules = {"Rules": others + lifecycle(wish)}
        self._put(self._client.put_bucket_lifecycle_configuration, LifecycleConfiguration=rules)

    def tags(self) -> dict[str, str]:
        """Return the bucket's tags."""
        found = self._get(self._client.get_bucket_tagging) or {"TagSet": ()}
        return {each["Key"]: each["Value"] for each in found["TagSet"]}

    def is_private(self) -> bool | None:
        """Tell whether all public access is blocked; None where the service can't say."""
        found = self._get(self._client.get_public_access_block)
        if found is None:
            return None
        said = found.get("PublicAccessBlockConfiguration", {})
        return all(said.get(name) for name in BLOCKED)

    def is_encrypted(self) -> bool | None:
        """Tell whether objects are encrypted where nobody asks for it."""
        found = self._get(self._client.get_bucket_encryption)
        return None if found is None else bool(found.get("ServerSideEncryptionConfiguration"))

    def has_versioning(self) -> bool | None:
        """Tell whether objects that are replaced or deleted are kept."""
        found = self._get(self._client.get_bucket_versioning)
        return None if found is None else found.get("Status") == "Enabled"

    def _block_public_access(self) -> None:
        self._put(self._client.put_public_access_block, PublicAccessBlockConfiguration=BLOCKED)
        if self.is_private() is False:
            raise self._refused("Public access is not blocked, though we asked for it.")

    def _encrypt(self) -> None:
        if self.is_encrypted() is False:  # at AWS all are
            self._put(
                self._client.put_bucket_encryption, ServerSideEncryptionConfiguration=ENCRYPTED
            )
            if self.is_encrypted() is False:
                raise self._refused("The bucket is not encrypted, though we asked for it.")

    def _refused(self, what: str) -> Failure:
        fix = f"Try again, or look at it in the console; llmcloud buckets delete {self._url}"
        return Unavailable(what, where=self._url, fix=fix)

    def _rules(self) -> list[dict[str, Any]]:
        found = self._get(self._client.get_bucket_lifecycle_configuration) or {}
        return list(found.get("Rules", ()))

    def _get(self, ask: Callable[..., Any]) -> dict[str, Any] | None:
        """Return an answer, empty for what was never set; None where there is no such setting."""
        from botocore.exceptions import ClientError

        with translated(self._url):
            try:
                found: dict[str, Any] = ask(**self._bucket)
            except ClientError as error:
                if code_of(error) in NOT_SET:
                    return {}
                if code_of(error) in LACKING and not self._is_aws:
                    return None
                raise
        return found

    def _put(self, tell: Callable[..., Any], **wanted: Any) -> None:
        from botocore.exceptions import ClientError

        with translated(self._url):
            try:
                tell(**self._bucket, **wanted)
            except ClientError as error:
                if code_of(error) not in LACKING or self._is_aws:
                    raise


def seen(ask: Callable[[], Any]) -> Any:
    """Return what a question yields, or None where it may not be asked."""
    try:
        return ask()
    except PermissionDenied:
        return None


def lifecycle(wish: BucketWish) -> list[dict[str, Any]]:
    """Return the rules that a wish amounts to, in S3's words."""
    rules: list[dict[str, Any]] = [
        {
            "ID": f"{OURS}-abort-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": wish.abort_uploads_days},
        }
    ]
    if wish.expire_logs_days is not None:
        tags = [{"Key": key, "Value": value} for key, value in LOG_TAG.items()]
        days = wish.expire_logs_days
        rules.append(
            {
                "ID": f"{OURS}-expire-logs",
                "Status": "Enabled",
                "Filter": {"And": {"Prefix": LOG_PREFIX, "Tags": tags}},
                "Expiration": {"Days": days},
                "NoncurrentVersionExpiration": {"NoncurrentDays": days},
            }
        )
    return rules


def is_ours(tags: Mapping[str, str] | None) -> bool | None:
    """Tell whether we have made a bucket, by its tags; None where they can't be seen."""
    return None if tags is None else OURS in tags
