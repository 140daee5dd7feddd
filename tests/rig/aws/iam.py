"""IAM's simulation, which moto has not, and who we are; all else is moto's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.iam.models import iam_backends
from tests.rig.aws import access, policy
from tests.rig.aws.account import ACCOUNT, ROOT
from tests.rig.aws.call import ON_TO_MOTO, Refusal, Service
from tests.rig.aws.policy import Asked

if TYPE_CHECKING:
    from tests.rig.aws.call import Call


def service() -> Service:
    operations = {
        "SimulatePrincipalPolicy": simulate,
        "RemoveRoleFromInstanceProfile": remove_role,
    }
    return Service("iam", "iam", operations, is_on_moto=True)


def sts() -> Service:
    return Service("sts", "sts", {"GetCallerIdentity": identify}, is_on_moto=True)


def identify(call: Call) -> Any:
    """Answer who the account's own key is, which moto does not know."""
    if call.scope.key != ROOT[0]:
        return ON_TO_MOTO
    return {"UserId": ACCOUNT, "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:root"}


def remove_role(call: Call) -> Any:
    """Refuse what moto fails at: a role that is not in the profile."""
    profile, role = call.params["InstanceProfileName"], call.params["RoleName"]
    for each in iam_backends[ACCOUNT]["aws"].get_instance_profiles():
        if each.name == profile and role not in [own.name for own in each.roles]:
            message = f"Role {role} is not in instance profile {profile}."
            raise Refusal("NoSuchEntity", message, 404)
    return ON_TO_MOTO


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
