"""What whoever submits must be allowed to do: the policy that `doctor aws` prints and checks.

A node's own policy, for its job's part of the store only, is in identity.py.
"""

from __future__ import annotations

JOB_TAG = "llmcloud:job"

# Where policies call an S3 operation otherwise
# (docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html), and what two
# operations need beyond the action of their own name.
_S3 = {
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
    "ListBuckets": "ListAllMyBuckets",
    "HeadObject": "GetObject",
    "DeleteObjects": "DeleteObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
}
_ALSO = {
    "ec2:RunInstances": ("ec2:CreateTags", "iam:PassRole"),
    "ec2:CreateLaunchTemplate": ("ec2:CreateTags",),
    "ec2:CreateSecurityGroup": ("ec2:CreateTags",),
    "autoscaling:CreateAutoScalingGroup": ("ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"),
    "sagemaker:CreateTrainingJob": ("sagemaker:AddTags", "iam:PassRole"),
}


def needed_for(prefix: str, operation: str) -> str:
    """Return the actions that a policy must allow for an operation, in words."""
    own = f"{prefix}:{_S3.get(operation, operation) if prefix == 's3' else operation}"
    *first, last = (own, *_ALSO.get(own, ()))
    return f"{', '.join(first)} and {last}" if first else last
