"""What a job's role may do with the account's own keys in KMS: what S3 and SageMaker do for it.

Keys are named and restricted as docs.aws.amazon.com/kms/latest/developerguide has it, as read in
November 2026: cmks-in-iam-policies.html and conditions-kms.html.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws.names import KMS_KEY
from llmcloud.providers.aws.roles import allow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmcloud.providers.aws.identity import Caller

OBJECT_ACTIONS = ["kms:Decrypt", "kms:GenerateDataKey"]
# sagemaker-roles.html: for what a job writes, and (the grants) for its disks.
TRAINING_ACTIONS = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"]
GRANT_ACTIONS = ["kms:CreateGrant"]
TO_AWS = {"Bool": {"kms:GrantIsForAWSResource": "true"}}


def of_buckets(caller: Caller, buckets: Iterable[str]) -> dict[str, Any]:
    """Return what lets S3 encrypt and decrypt a role's objects in buckets, by any key of ours."""
    arns = [f"arn:{caller.partition}:s3:::{bucket}" for bucket in dict.fromkeys(buckets)]
    # An object's key is for the object; a bucket with a Bucket Key has one for itself.
    meant = [each for arn in arns for each in (arn, f"{arn}/*")]
    through = {
        "kms:ViaService": "s3.*.amazonaws.com*",  # in China it ends in .cn
        "kms:EncryptionContext:aws:s3:arn": meant,
    }
    statement = allow(OBJECT_ACTIONS, [f"{_ours(caller)}:key/*"])
    return {**statement, "Condition": {"StringLike": through}}


def of_training(caller: Caller) -> list[dict[str, Any]]:
    """Return what SageMaker does with the key that the user's variable names, if it names one."""
    named = os.environ.get(KMS_KEY, "")
    if not named:
        return []
    key = named if named.startswith("arn:") else f"{_ours(caller)}:key/{named}"
    granting = {**allow(GRANT_ACTIONS, [key]), "Condition": TO_AWS}
    return [allow(TRAINING_ACTIONS, [key]), granting]


def _ours(caller: Caller) -> str:
    return f"arn:{caller.partition}:kms:*:{caller.account}"
