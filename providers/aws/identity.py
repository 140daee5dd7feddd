"""Who submits, and what the machines of a job may do: a role of the job's own, for it alone."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws import keys, names
from llmcloud.providers.aws.errors import translated
from llmcloud.providers.aws.names import SUBNETS
from llmcloud.providers.aws.roles import Role, Roles, allow
from llmcloud.runtime import layout
from llmcloud.runtime.errors import InvalidRequest, NotFound, PermissionDenied
from llmcloud.runtime.store import bucket_of, split_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from llmcloud.core.job import Job
    from llmcloud.providers.aws.credentials import Account

SHARED_ROLE = "llmcloud-node"  # that an administrator has made, where jobs may make none
POLICY = "llmcloud-job"
POLICY_CHARACTERS = 10_240  # but for white space: docs.aws.amazon.com, IAM and STS quotas
NO_TAG, TAG_CHARACTERS = re.compile(r"[^\w\s.:/=+@-]"), 256  # as IAM's model has it
SERVICES = ("ec2.amazonaws.com", "sagemaker.amazonaws.com")
READ = ("s3:GetObject",)
WRITE = (
    *READ,
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
)
GROUP_ACTIONS = (
    "autoscaling:DeleteAutoScalingGroup",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
)
LOG_ACTIONS = (
    "logs:CreateLogGroup",
    "logs:CreateLogStream",
    "logs:DescribeLogStreams",
    "logs:PutLogEvents",
)
NETWORK_ACTIONS = (  # in a network of the account's own
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeVpcs",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeSubnets",
    "ec2:DescribeSecurityGroups",
)
IMAGE_ACTIONS = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchGetImage",
)


@dataclass(frozen=True)
class Caller:
    """Whom the credentials found here belong to."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """Return the part of AWS that the account is of: aws, aws-cn or aws-us-gov."""
        return self.arn.split(":")[1]

    @property
    def tag(self) -> str:
        """Return the ARN as the value of a tag: IAM's names may have more characters, and more."""
        return NO_TAG.sub("_", self.arn)[:TAG_CHARACTERS]


class Identity:
    """The roles of jobs, in IAM."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._roles = Roles(account)

    @cached_property
    def caller(self) -> Caller:
        """Return who we are."""
        with translated("AWS, who we are"):
            said = self._account.client_of("sts").get_caller_identity()
            return Caller(said["Account"], said["Arn"])

    def role(self, job: Job, tags: Mapping[str, str]) -> str:
        """Return the name of the role that a job's machines have; made when it is missing.

        PermissionDenied, with what an administrator has to run, where it may not be made.
        """
        return self._made(job, tags, self._roles.make)

    def profile(self, job: Job, tags: Mapping[str, str]) -> str:
        """Return the name of the instance profile that gives machines the job's role, as `role`."""
        return self._made(job, tags, self._roles.make_with_profile)

    def _made(self, job: Job, tags: Mapping[str, str], make: Callable[[Role], None]) -> str:
        name, policy = names.of_job(job.id), node_policy(job, self.caller)
        _expect_room(policy)
        wanted = Role(
            name=name,
            description="What the machines of one job may do",
            trust=trust(),
            policy_name=POLICY,
            policy=policy,
            tags=tags,
        )
        try:
            make(wanted)
        except PermissionDenied as failure:
            if self._roles.is_there(SHARED_ROLE):
                return SHARED_ROLE
            raise _ask_for_role(failure, self.caller, job) from failure
        return name

    def role_arn(self, name: str) -> str:
        """Return the ARN of a role of ours."""
        return f"arn:{self.caller.partition}:iam::{self.caller.account}:role/{name}"

    def delete(self, job: str) -> None:
        """Delete a job's role and profile; what is absent is deleted already."""
        try:
            self._roles.delete(names.of_job(job), POLICY)
        except PermissionDenied:  # who may delete none has made none, where there is one for all
            if not self._roles.is_there(SHARED_ROLE):
                raise

    def of_jobs(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield the jobs that have a role of ours, with its tags."""
        for role in self._roles.listed(names.PREFIX):
            if role.name != SHARED_ROLE:
                yield names.job_of(role.name), role.tags


def trust() -> dict[str, Any]:
    """Return who may take on a job's role: machines and training jobs."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": list(SERVICES)},
                "Action": "sts:AssumeRole",
            }
        ],
    }


def node_policy(job: Job, caller: Caller) -> dict[str, Any]:
    """Return what the machines of one job may do: its prefix, its code, its data, its secrets."""
    bucket = _bucket(job.store)
    task = job.task
    staged = [layout.runtime(job.runtime)]
    staged += [layout.code(task.code)] if task.code else []
    trees = [each.source for each in task.data if "://" not in each.source]
    own = layout.job(job.id)
    statements = [
        _on_objects(caller, bucket, WRITE, [f"{own}*"]),
        _on_objects(caller, bucket, READ, [*staged, *(f"{each}*" for each in trees)]),
        _listing(caller, bucket, [f"{own}*", *(f"{each}*" for each in trees)]),
    ]
    buckets = [bucket]
    for source in (each.source for each in task.data if each.source.startswith("s3://")):
        other, key = split_bucket("s3", source.removeprefix("s3://"))
        buckets.append(other)
        statements += [
            _on_objects(caller, other, READ, [f"{key}*"]),
            _listing(caller, other, [f"{key}*"]),
        ]
    statements.append(keys.of_buckets(caller, buckets))
    parameters = _parameters(caller, layout.secrets(job.id))
    if task.secrets:
        statements.append(
            allow(["ssm:GetParametersByPath"], [parameters, f"{parameters}/*"]),
        )
    statements.append(allow(GROUP_ACTIONS, [_groups(caller, names.of_job(job.id))]))
    if job.service == "managed":
        statements += [_listing(caller, bucket, staged), *_training(caller)]
    return {"Version": "2012-10-17", "Statement": statements}


def _expect_room(policy: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for a policy that is longer than a role's may be."""
    if len("".join(json.dumps(policy).split())) > POLICY_CHARACTERS:
        raise InvalidRequest(
            "The job's data comes from more places than the policy of a role has room for.",
            where="data",
            fix="Name a folder that has them all, or bring them together: llmcloud data push.",
        )


def shared_policy(bucket: str, caller: Caller) -> dict[str, Any]:
    """Return what the one role for all jobs of a store has to be allowed."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            _on_objects(caller, bucket, WRITE, ["jobs/*"]),
            _on_objects(caller, bucket, READ, ["code/*", "data/*"]),
            _listing(caller, bucket, ["jobs/*", "code/*", "data/*"]),
            keys.of_buckets(caller, [bucket]),
            allow(["ssm:GetParametersByPath"], [_parameters(caller, "/llmcloud/*")]),
            allow(GROUP_ACTIONS, [_groups(caller, f"{names.PREFIX}*")]),
            *_training(caller),
        ],
    }


def _parameters(caller: Caller, path: str) -> str:
    return f"arn:{caller.partition}:ssm:*:{caller.account}:parameter{path}"


def _groups(caller: Caller, name: str) -> str:
    any_group = f"arn:{caller.partition}:autoscaling:*:{caller.account}:autoScalingGroup:*"
    return f"{any_group}:autoScalingGroupName/{name}"


def _training(caller: Caller) -> list[dict[str, Any]]:
    """Return what SageMaker does in a job's name: fetch its image, write its logs and metrics.

    Those of docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html, for CreateTrainingJob.
    """
    logs = f"arn:{caller.partition}:logs:*:{caller.account}:log-group:/aws/sagemaker/*"
    images = f"arn:{caller.partition}:ecr:*:*:repository/*"
    return [
        allow(LOG_ACTIONS, [logs]),
        allow(IMAGE_ACTIONS, [images]),
        allow(["ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"], ["*"]),
        *([allow(NETWORK_ACTIONS, ["*"])] if os.environ.get(SUBNETS) else []),
        *keys.of_training(caller),
    ]


def _ask_for_role(failure: PermissionDenied, caller: Caller, job: Job) -> PermissionDenied:
    policy = json.dumps(shared_policy(_bucket(job.store), caller))
    role, profile = f"--role-name {SHARED_ROLE}", f"--instance-profile-name {SHARED_ROLE}"
    commands = [
        f"aws iam create-role {role} --assume-role-policy-document '{json.dumps(trust())}'",
        f"aws iam put-role-policy {role} --policy-name {POLICY} --policy-document '{policy}'",
        f"aws iam create-instance-profile {profile}",
        f"aws iam add-role-to-instance-profile {profile} {role}",
    ]
    return PermissionDenied(
        f"The job's machines need a role, which you may not make. {failure.what}",
        where=failure.where,
        fix="Have an administrator run this once; all jobs will use it:\n" + "\n".join(commands),
    )


def _bucket(store_url: str) -> str:
    found = bucket_of(store_url)
    if not found or found[0] != "s3":
        raise NotFound(f"{store_url} is no bucket of S3.")
    return found[1]


def _on_objects(
    caller: Caller, bucket: str, actions: tuple[str, ...], keys: list[str]
) -> dict[str, Any]:
    return allow(actions, [f"arn:{caller.partition}:s3:::{bucket}/{key}" for key in keys])


def _listing(caller: Caller, bucket: str, prefixes: list[str]) -> dict[str, Any]:
    return {
        **allow(["s3:ListBucket"], [f"arn:{caller.partition}:s3:::{bucket}"]),
        "Condition": {"StringLike": {"s3:prefix": prefixes}},
    }
