"""What IAM would say to all that a job asks AWS for, without asking for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws.errors import translated
from llmcloud.providers.aws.permissions import CONTEXT, Grant, Place, granted
from llmcloud.runtime.errors import NotFound, PermissionDenied

if TYPE_CHECKING:
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.identity import Caller

AT_ONCE = 8
ALLOWED = "allowed"
NAME = "doctor"  # of what is asked about: there need not be any


@dataclass(frozen=True)
class Principal:
    """A user or a role whose policies IAM can look through."""

    arn: str
    account: str
    partition: str

    @classmethod
    def of(cls, caller: Caller, account: Account) -> Principal | None:
        """Return whose policies count for a caller; None for the root user and federated ones.

        The ARN of an assumed role has neither the role's kind nor its path, which single sign-on
        has: IAM tells the role's own, if we may ask.
        """
        kind, _, rest = caller.arn.rpartition(":")[2].partition("/")
        arn = caller.arn
        if kind == "assumed-role":
            arn = _role_arn(caller, account, rest.partition("/")[0])
        elif kind != "user":
            return None
        return cls(arn, caller.account, caller.partition)

    @property
    def name(self) -> str:
        """Return what people call it."""
        return self.arn.rpartition("/")[2]


def _role_arn(caller: Caller, account: Account, name: str) -> str:
    try:
        with translated(f"role {name}"):
            return str(account.client_of("iam").get_role(RoleName=name)["Role"]["Arn"])
    except (PermissionDenied, NotFound):
        return f"arn:{caller.partition}:iam::{caller.account}:role/{name}"


def denied(
    account: Account, principal: Principal, service: str, region: str
) -> dict[str, list[str]]:
    """Return the actions that IAM would deny of those a service's jobs need, by what they are for.

    Raises PermissionDenied where simulating itself is not permitted, NotFound where the principal's
    path is not known.
    """
    place = Place(principal.account, principal.partition, region, NAME)
    needed = [each for each in granted(service) if each.is_needed]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda grant: _denied(account, principal, grant, place), needed)
        return {grant.why: actions for grant, actions in zip(needed, found, strict=True) if actions}


def _denied(account: Account, principal: Principal, grant: Grant, place: Place) -> list[str]:
    asked: dict[str, Any] = {
        "PolicySourceArn": principal.arn,
        "ActionNames": list(grant.actions),
        "ResourceArns": [grant.on(place)],
        "ContextEntries": [
            {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for name, value in CONTEXT.items()
        ],
    }
    pages = account.client_of("iam").get_paginator("simulate_principal_policy")
    with translated(f"what {principal.name} may do"):
        return [
            each["EvalActionName"]
            for page in pages.paginate(**asked)
            for each in page["EvaluationResults"]
            if each["EvalDecision"] != ALLOWED
        ]
