"""Roles in IAM and the instance profiles of their name: found or made, listed, deleted."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws import names
from llmcloud.providers.aws.errors import Refusal, tolerated, translated
from llmcloud.runtime.errors import NotFound, PermissionDenied, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from llmcloud.providers.aws.credentials import Account

NEW_S = 120.0  # for a new role to be known everywhere in AWS
# How it is refused where it is not known yet: by EC2, by Auto Scaling, which tries what a group
# would make, and by SageMaker. EC2 may not know a new security or placement group either.
UNKNOWN = {
    "InvalidIamInstanceProfileArn.NotFound",
    "InvalidGroup.NotFound",
    "InvalidPlacementGroup.Unknown",
}
UNKNOWN_OR_INVALID = {"InvalidParameterValue", "ValidationError", "ValidationException"}
ITS_NAMES = ("profile", "role")  # in what is said of it, and not of another value
ABSENT, THERE = {"NoSuchEntity"}, {"EntityAlreadyExists"}
FULL = {"LimitExceeded"}  # what a profile says that has its role, which is all that it can have


def allow(actions: Iterable[str], resources: list[str]) -> dict[str, Any]:
    """Return a statement of a policy."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": resources}


@dataclass(frozen=True)
class Role:
    """What a role is to be: who may take it on (`trust`), and what it then may do (`policy`)."""

    name: str
    description: str
    trust: Mapping[str, Any]
    policy_name: str
    policy: Mapping[str, Any]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Listed:
    """A role of ours that there is."""

    name: str
    tags: Mapping[str, str]
    created_at: datetime


class Roles:
    """The roles of an account."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def make(self, role: Role) -> None:
        """Make a role, or find it made; PermissionDenied where it may not be."""
        self._create(role)
        self._permit(role)

    def make_with_profile(self, role: Role) -> None:
        """Make a role and the instance profile of its name that gives it to machines."""
        name = role.name
        with ThreadPoolExecutor(1) as pool:  # two at a time: what comes next needs both
            creating = pool.submit(self._create_profile, role)
            self._create(role)
            creating.result()
            permitting = pool.submit(self._permit, role)
            with translated(f"instance profile {name}"), tolerated(FULL):
                self._iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
            permitting.result()

    def _create(self, role: Role) -> None:
        with translated(f"role {role.name}"), tolerated(THERE):
            self._iam.create_role(
                RoleName=role.name,
                AssumeRolePolicyDocument=json.dumps(role.trust),
                Description=role.description,
                Tags=names.as_list(role.tags),
            )

    def _create_profile(self, role: Role) -> None:
        with translated(f"instance profile {role.name}"), tolerated(THERE):
            self._iam.create_instance_profile(
                InstanceProfileName=role.name, Tags=names.as_list(role.tags)
            )

    def _permit(self, role: Role) -> None:
        with translated(f"role {role.name}"):
            self._iam.put_role_policy(
                RoleName=role.name,
                PolicyName=role.policy_name,
                PolicyDocument=json.dumps(role.policy),
            )

    @contextlib.contextmanager
    def used(self, name: str, where: str, *, has_profile: bool = True) -> Iterator[None]:
        """Raise Unavailable for a refusal in the block while not all of AWS may know a role."""
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            refusal = Refusal.of(error)
            if not (_may_be_of_role(refusal) and self._is_new(name, has_profile=has_profile)):
                raise
            raise Unavailable(
                f"The machines' new role is not known everywhere yet{refusal.said}.", where=where
            ) from error

    def _is_new(self, name: str, *, has_profile: bool) -> bool:
        with translated(f"role {name}"):
            if has_profile:
                made = self._iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
            else:
                made = self._iam.get_role(RoleName=name)["Role"]
        age_s: float = (datetime.now(UTC) - made["CreateDate"]).total_seconds()
        return age_s < NEW_S

    def is_there(self, name: str) -> bool:
        """Tell whether there is a role, as far as we may see."""
        try:
            with translated(f"role {name}"):
                self._iam.get_role(RoleName=name)
        except (NotFound, PermissionDenied):
            return False
        return True

    def listed(self, prefix: str) -> Iterator[Listed]:
        """Yield the roles whose names begin so."""
        with translated("the roles of the account"):
            for page in self._iam.get_paginator("list_roles").paginate():
                for role in page["Roles"]:
                    if (name := role["RoleName"]).startswith(prefix):
                        with tolerated(ABSENT):  # it may have gone since
                            tags = names.as_dict(self._iam.list_role_tags(RoleName=name)["Tags"])
                            yield Listed(name, tags, role["CreateDate"])

    def delete(self, name: str, policy_name: str) -> None:
        """Delete a role and its profile; what is absent is deleted already."""
        steps: list[Callable[[], Any]] = [
            lambda: self._iam.remove_role_from_instance_profile(
                InstanceProfileName=name, RoleName=name
            ),
            lambda: self._iam.delete_instance_profile(InstanceProfileName=name),
            lambda: self._iam.delete_role_policy(RoleName=name, PolicyName=policy_name),
            lambda: self._iam.delete_role(RoleName=name),
        ]
        for step in steps:
            with translated(f"role {name}"), tolerated(ABSENT):
                step()

    @property
    def _iam(self) -> Any:
        return self._account.client_of("iam")


def _may_be_of_role(refusal: Refusal) -> bool:
    is_told = any(each in refusal.message.lower() for each in ITS_NAMES)
    return refusal.code in UNKNOWN or (refusal.code in UNKNOWN_OR_INVALID and is_told)
