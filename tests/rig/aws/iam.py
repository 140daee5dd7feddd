"""IAM's simulation, which moto has not; all else is moto's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.rig.aws import access, policy
from tests.rig.aws.account import ACCOUNT, ROOT
from tests.rig.aws.call import ON_TO_MOTO, Service
from tests.rig.aws.policy import Asked

if TYPE_CHECKING:
    from tests.rig.aws.call import Call


def service() -> Service:
    return Service("iam", "iam", {"SimulatePrincipalPolicy": simulate}, is_on_moto=True)


def sts() -> Service:
    return Service("sts", "sts", {"GetCallerIdentity": identify}, is_on_moto=True)


def identify(call: Call) -> Any:
    """Answer who the account's own key is, which moto does not know."""
    if call.scope.key != ROOT[0]:
        return ON_TO_MOTO
    return {"UserId": ACCOUNT, "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:root"}


def simulate(call: Call) -> Any:
    """Answer what a user or a role may do, by the evaluation that also enforces it."""
    params = call.params
    documents = access.documents_of(params["PolicySourceArn"])
    context = {
        each["ContextKeyName"].lower(): each.get("ContextKeyValues", [])
        for each in params.get("ContextEntries", [])
    }
    results = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": policy.decide(documents, Asked(action, resource, context)),
            "MatchedStatements": [],
            "MissingContextValues": [],
        }
        for action in params["ActionNames"]
        for resource in params.get("ResourceArns", ["*"])
    ]
    return {"EvaluationResults": results, "IsTruncated": False}
