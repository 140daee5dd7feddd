"""Which key encrypts disks where nobody names one: AWS's own, or one of the account's.

Auto Scaling may not use an account's own key unless the key's policy says so: its machines end as
soon as they are made, with Client.InvalidKMSKey.InvalidState or Client.InternalError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.providers.aws.errors import translated

if TYPE_CHECKING:
    from llmcloud.providers.aws.credentials import Account

OF_AWS = "alias/aws/ebs"  # is told until the first disk is encrypted; then the ARN of what it means
LOOKS = ("ec2:GetEbsDefaultKmsKeyId", "kms:DescribeKey")
FIX = (
    "Add what AWSServiceRoleForAutoScaling needs to the policy of the key, if it is not there: "
    "https://docs.aws.amazon.com/autoscaling/ec2/userguide/"
    "key-policy-requirements-EBS-encryption.html"
)


def own(account: Account, region: str) -> str | None:
    """Return the account's own key for disks in a region, None where it is AWS's."""
    with translated(f"{region}, the key of disks"):
        key = str(account.client_of("ec2", region).get_ebs_default_kms_key_id()["KmsKeyId"])
        if key == OF_AWS:
            return None
        found = account.client_of("kms", region).describe_key(KeyId=key)["KeyMetadata"]
        return None if found["KeyManager"] == "AWS" else key
