"""The role of machines by themselves: what Session Manager needs of them, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws import names
from llmcloud.providers.aws.roles import Role
from llmcloud.runtime.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.providers.aws.roles import Roles

SHARED = "llmcloud-instance"  # that an administrator has made, where others may make none
POLICY = "llmcloud-instance"
# Those of getting-started-create-iam-instance-profile.html in the user guide of Systems Manager,
# as read in November 2026. AmazonSSMManagedInstanceCore would also let the machine read all
# parameters of the account, and secrets of jobs are among them.
ACTIONS = (
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
)
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


def policy() -> dict[str, Any]:
    """Return what the machines may do."""
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": list(ACTIONS), "Resource": "*"}],
    }


def profile(roles: Roles, name: str, tags: Mapping[str, str]) -> str:
    """Return the name of a machine's instance profile; made when it is missing.

    PermissionDenied, with what an administrator has to run, where it may not be made.
    """
    own = names.of_instance(name)
    try:
        roles.make_with_profile(
            Role(
                name=own,
                description="Lets Session Manager connect to one machine",
                trust=TRUST,
                policy_name=POLICY,
                policy=policy(),
                tags=tags,
            )
        )
    except PermissionDenied as failure:
        if roles.is_there(SHARED):
            return SHARED
        raise _ask_for_role(failure) from failure
    return own


def _ask_for_role(failure: PermissionDenied) -> PermissionDenied:
    role, its_profile = f"--role-name {SHARED}", f"--instance-profile-name {SHARED}"
    allowed = json.dumps(policy())
    commands = [
        f"aws iam create-role {role} --assume-role-policy-document '{json.dumps(TRUST)}'",
        f"aws iam put-role-policy {role} --policy-name {POLICY} --policy-document '{allowed}'",
        f"aws iam create-instance-profile {its_profile}",
        f"aws iam add-role-to-instance-profile {its_profile} {role}",
    ]
    return PermissionDenied(
        f"The machine needs a role, which you may not make. {failure.what}",
        where=failure.where,
        fix="Have an administrator run this once; all machines will use it:\n"
        + "\n".join(commands),
    )
