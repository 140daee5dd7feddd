"""What whoever submits must be allowed to do: the policy that `doctor aws` prints and checks.

The policy of a job's machines, for its own part of the store only, is in identity.py. Actions and
what they may be restricted to are those of the Service Authorization Reference
(docs.aws.amazon.com/service-authorization/latest/reference), as read in November 2026.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws.names import INSTANCE, JOB, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VM, MANAGED, BY_ITSELF = "vm", "managed", "instances"
ANY = "*"
# What is asked for, when a condition of some policy looks at it.
CONTEXT = {
    f"aws:ResourceTag/{JOB}": "doctor",
    f"aws:RequestTag/{JOB}": "doctor",
    f"aws:ResourceTag/{INSTANCE}": "doctor",
    "ec2:CreateAction": "RunInstances",
    "iam:PassedToService": "ec2.amazonaws.com",
}


@dataclass(frozen=True)
class Place:
    """What fills the gaps in a grant's resources; a policy leaves them open."""

    account: str
    partition: str = "aws"
    region: str = ANY
    name: str = ANY


@dataclass(frozen=True)
class Grant:
    """Actions on the same things, and what for; without `is_needed` a job can do without.

    `service` is the one whose jobs need it, empty for both; or machines by themselves.
    """

    name: str
    why: str
    actions: tuple[str, ...]
    resource: str = ANY
    condition: Mapping[str, Any] = field(default_factory=dict)
    service: str = ""
    is_needed: bool = True

    def on(self, place: Place) -> str:
        """Return the ARN that the actions are on."""
        return self.resource.format(**vars(place))


_OURS = {"Null": {f"aws:ResourceTag/{JOB}": "false"}}
_BY_ITSELF = {"Null": {f"aws:ResourceTag/{INSTANCE}": "false"}}
_AS_MADE = {
    "StringEquals": {
        "ec2:CreateAction": [
            "RunInstances",
            "CreateSecurityGroup",
            "CreatePlacementGroup",
            "CreateLaunchTemplate",
        ]
    }
}
_IAM = f"arn:{{partition}}:iam::{{account}}:{{}}/{PREFIX}{{name}}"
_BUCKET = f"arn:{{partition}}:s3:::{PREFIX}{{account}}-{{region}}"
# Whose a connection is, AWS's samples tell by its name, with a user's or with anybody's id, and for
# roles, whose connections are called after neither, by its tag (Systems Manager's user guide,
# getting-started-restrict-access-quickstart and -examples). IAM can't simulate that of no one's.
_SESSION = "arn:{partition}:ssm:{region}:{account}:session"
_USE_SESSIONS = ("ssm:ResumeSession", "ssm:TerminateSession", "ssmmessages:OpenDataChannel")


def _actions(service: str, names: str) -> tuple[str, ...]:
    return tuple(f"{service}:{name}" for name in names.split())


GRANTS = (
    Grant(
        "SeeMachines",
        "to see machines, networks, images and prices",
        _actions(
            "ec2",
            "DescribeImages DescribeInstanceTypeOfferings DescribeInstances GetConsoleOutput "
            "DescribeLaunchTemplates DescribePlacementGroups DescribeRegions "
            "DescribeSecurityGroups DescribeSubnets",
        ),
        service=VM,
    ),
    Grant(
        "MakeMachines",
        "to make machines, and the group in which they talk to one another",
        _actions(
            "ec2",
            "AuthorizeSecurityGroupEgress AuthorizeSecurityGroupIngress CreateLaunchTemplate "
            "CreatePlacementGroup CreateSecurityGroup RunInstances",
        ),
        service=VM,
    ),
    Grant(
        "TagWhatIsMade",
        "to mark what a job has, so that it is found again",
        ("ec2:CreateTags",),
        condition=_AS_MADE,
        service=VM,
    ),
    Grant(
        "EndMachines",
        "to end what bears a job's mark",
        _actions(
            "ec2",
            "DeleteLaunchTemplate DeletePlacementGroup DeleteSecurityGroup TerminateInstances",
        ),
        condition=_OURS,
        service=VM,
    ),
    Grant(
        "SeeGroups",
        "to see what becomes of spot machines",
        _actions("autoscaling", "DescribeAutoScalingGroups DescribeScalingActivities"),
        service=VM,
    ),
    Grant(
        "KeepGroups",
        "to have spot machines replaced",
        _actions(
            "autoscaling",
            "CreateAutoScalingGroup CreateOrUpdateTags DeleteAutoScalingGroup "
            "PutScheduledUpdateGroupAction",
        ),
        "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/"
        f"{PREFIX}{{name}}",
        service=VM,
    ),
    Grant(
        "UseSpotAndGroups",
        "to use spot machines and groups for the first time in an account",
        ("iam:CreateServiceLinkedRole",),
        "arn:{partition}:iam::{account}:role/aws-service-role/{name}",
        service=VM,
        is_needed=False,
    ),
    Grant("ListRoles", "to find roles that were left behind", ("iam:ListRoles",), is_needed=False),
    Grant(
        "KeepRoles",
        "to give a job's machines a role for this job alone",
        _actions(
            "iam",
            "CreateRole DeleteRole DeleteRolePolicy GetRole ListRoleTags PassRole PutRolePolicy "
            "TagRole",
        ),
        _IAM.replace("{}", "role"),
    ),
    Grant(
        "KeepProfiles",
        "to give machines that role",
        _actions(
            "iam",
            "AddRoleToInstanceProfile CreateInstanceProfile DeleteInstanceProfile "
            "GetInstanceProfile RemoveRoleFromInstanceProfile TagInstanceProfile",
        ),
        _IAM.replace("{}", "instance-profile"),
        service=VM,
    ),
    Grant(
        "FindImages",
        "to find the machine images",
        ("ssm:GetParameter",),
        "arn:{partition}:ssm:{region}::parameter/aws/service/{name}",
        service=VM,
    ),
    Grant(
        "HandSecretsOver",
        "to hand a job's secrets to its machines",
        _actions("ssm", "DeleteParameters GetParametersByPath PutParameter"),
        "arn:{partition}:ssm:{region}:{account}:parameter/llmcloud/{name}",
    ),
    Grant(
        "KeepStores",
        "to make the bucket that jobs lie in",
        _actions(
            "s3",
            "CreateBucket GetBucketLocation GetBucketPublicAccessBlock GetBucketTagging "
            "GetBucketVersioning GetEncryptionConfiguration GetLifecycleConfiguration ListBucket "
            "ListBucketMultipartUploads PutBucketPublicAccessBlock PutBucketTagging "
            "PutEncryptionConfiguration PutLifecycleConfiguration",
        ),
        _BUCKET,
    ),
    Grant(
        "UseStores",
        "to bring code and data, and get checkpoints and logs",
        _actions(
            "s3",
            "AbortMultipartUpload DeleteObject GetObject ListMultipartUploadParts PutObject "
            "PutObjectTagging",
        ),
        f"{_BUCKET}/{{name}}",
    ),
    Grant(
        "ListStores",
        "to list buckets",
        ("s3:ListAllMyBuckets",),
        is_needed=False,
    ),
    Grant(
        "KeepTrainingJobs",
        "to run training jobs",
        _actions(
            "sagemaker",
            "AddTags CreateTrainingJob DescribeTrainingJob ListTags StopTrainingJob",
        ),
        f"arn:{{partition}}:sagemaker:{{region}}:{{account}}:training-job/{PREFIX}{{name}}",
        service=MANAGED,
    ),
    Grant(
        "ListTrainingJobs",
        "to find training jobs",
        ("sagemaker:ListTrainingJobs",),
        service=MANAGED,
    ),
    Grant(
        "ReadLogs",
        "to read their logs",
        _actions("logs", "DescribeLogStreams GetLogEvents"),
        "arn:{partition}:logs:{region}:{account}:log-group:/aws/sagemaker/TrainingJobs:{name}",
        service=MANAGED,
    ),
    Grant(
        "EndInstances",
        "to end machines by themselves",
        _actions("ec2", "DeleteSecurityGroup TerminateInstances"),
        condition=_BY_ITSELF,
        service=BY_ITSELF,
    ),
    Grant(
        "SeeConnections",
        "to see whether machines by themselves can be reached",
        ("ssm:DescribeInstanceInformation",),
        service=BY_ITSELF,
    ),
    Grant(
        "ConnectToInstances",
        "to connect to machines by themselves",
        ("ssm:StartSession",),
        "arn:{partition}:ec2:{region}:{account}:instance/{name}",
        condition=_BY_ITSELF,
        service=BY_ITSELF,
    ),
    Grant(
        "OpenShells",
        "to have a shell there",
        ("ssm:StartSession",),
        "arn:{partition}:ssm:{region}:{account}:document/SSM-SessionManagerRunShell",
        service=BY_ITSELF,
    ),
    Grant(
        "RunCommands",
        "to run commands there",
        ("ssm:StartSession",),
        "arn:{partition}:ssm:{region}::document/AWS-StartNonInteractiveCommand",
        service=BY_ITSELF,
    ),
    Grant(
        "UseSessions",
        "to keep such connections open, by a user's name",
        _USE_SESSIONS,
        f"{_SESSION}/${{{{aws:username}}}}-*",
        service=BY_ITSELF,
        is_needed=False,
    ),
    Grant(
        "UseSessionsById",
        "to keep such connections open, by anybody's id",
        _USE_SESSIONS,
        f"{_SESSION}/${{{{aws:userid}}}}-*",
        service=BY_ITSELF,
        is_needed=False,
    ),
    Grant(
        "UseSessionsByTag",
        "to end and take up again such connections, as a role",
        _actions("ssm", "ResumeSession TerminateSession"),
        f"{_SESSION}/{{name}}",
        condition={"StringLike": {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"}},
        service=BY_ITSELF,
        is_needed=False,
    ),
    Grant(
        "LookAhead",
        "for doctor, and llmcloud accelerators --refresh",
        (
            "ec2:DescribeSpotPriceHistory",
            "ec2:GetEbsDefaultKmsKeyId",
            "iam:SimulatePrincipalPolicy",
            "kms:DescribeKey",
            "pricing:GetProducts",
            "servicequotas:GetAWSDefaultServiceQuota",
            "servicequotas:GetServiceQuota",
            "servicequotas:ListServiceQuotas",
        ),
        is_needed=False,
    ),
)


def policy(place: Place) -> dict[str, Any]:
    """Return the policy that allows all of this and nothing else, as IAM takes it."""
    return {"Version": "2012-10-17", "Statement": [*map(_statement(place), GRANTS)]}


def granted(service: str) -> Iterator[Grant]:
    """Yield what the jobs of a service need; of both with an empty name."""
    return (each for each in GRANTS if not service or each.service in {"", service})


def _statement(place: Place) -> Any:
    def made(grant: Grant) -> dict[str, Any]:
        said = {"Sid": grant.name, "Effect": "Allow", "Action": list(grant.actions)}
        said["Resource"] = grant.on(place)
        return {**said, "Condition": dict(grant.condition)} if grant.condition else said

    return made


# Where policies call an S3 operation otherwise, and what some need beyond their own name.
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
    "ec2:CreatePlacementGroup": ("ec2:CreateTags",),
    "ec2:CreateSecurityGroup": ("ec2:CreateTags",),
    "autoscaling:CreateAutoScalingGroup": ("ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"),
    "sagemaker:CreateTrainingJob": ("sagemaker:AddTags", "iam:PassRole"),
}


def needed_for(prefix: str, operation: str) -> str:
    """Return the actions that a policy must allow for an operation, in words."""
    own = f"{prefix}:{_S3.get(operation, operation) if prefix == 's3' else operation}"
    *first, last = (own, *_ALSO.get(own, ()))
    return f"{', '.join(first)} and {last}" if first else last
