"""Who asks, and whether they may: moto's users and roles, with policies evaluated whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.session import Session
from moto.core.utils import utcnow
from moto.iam.access_control import (
    AssumedRoleAccessKey,
    CreateAccessKeyFailure,
    IAMPolicy,
    IAMUserAccessKey,
)
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from tests.rig.aws import policy, resources, s3, signing
from tests.rig.aws.account import ACCOUNT, ROOT, SUBMITTER
from tests.rig.aws.call import Refusal
from tests.rig.aws.policy import Asked

if TYPE_CHECKING:
    from datetime import datetime

    from tests.rig.aws.call import Call
    from tests.rig.aws.world import World

REGIONS = frozenset(Session().get_available_regions("ec2"))
ALL = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
ALWAYS_ALLOWED = {"sts:GetCallerIdentity"}


@dataclass(frozen=True)
class Principal:
    """Whoever has a key, and what is attached to them; `id` is what `aws:userid` stands for."""

    arn: str
    secret: str
    token: str | None
    documents: list[dict[str, Any]]
    expires_at: datetime | None = None
    id: str = ""

    @property
    def context(self) -> dict[str, list[str]]:
        known = {"aws:principalarn": [self.arn], "aws:userid": [self.id]}
        return known | ({"aws:username": [self.name]} if ":user/" in self.arn else {})

    @property
    def name(self) -> str:
        """Return the name of a user, or of a role's session."""
        return self.arn.rpartition("/")[2]


def seed() -> None:
    """Make the user whose key tests have: `submitter`, who may do everything at first."""
    backend = iam_backends[ACCOUNT]["aws"]
    backend.create_user("us-east-1", "submitter")
    backend.put_user_policy("submitter", "all", json.dumps({"Version": "2012-10-17", **ALL}))
    key = backend.create_access_key("submitter")
    del backend.access_keys[key.access_key_id]
    key.access_key_id, key.secret_access_key = SUBMITTER
    backend.access_keys[key.access_key_id] = key


def check(world: World, call: Call) -> None:
    """Raise Refusal when the caller is unknown, signed wrongly, or may not do it."""
    if "authorization" not in call.sent.headers and call.service == "sts":
        return  # a web identity brings its own proof
    principal = principal_of(call)
    if not signing.is_right(call, principal.secret, principal.token):
        raise _refusal(call, "signature", principal)
    if call.scope.key in world.expired_keys or _is_over(principal):
        raise _refusal(call, "expired", principal)
    for each in resources.asked(call):
        if not may(principal, each, call.region):
            raise _refusal(call, "denied", principal, each)


def check_region(world: World, call: Call) -> None:
    """Raise Refusal in a region that is none, or that the account has not enabled."""
    is_enabled = call.region in REGIONS - world.disabled_regions
    if call.service != "s3" and not is_enabled:
        raise _refusal(call, "unknown", None)


def check_bucket(world: World, call: Call) -> None:
    """Raise Refusal for a bucket that is somebody else's."""
    if not world.taken_buckets:
        return
    found = s3.asked(call.request)
    if found.bucket not in world.taken_buckets:
        return
    if found.operation == "CreateBucket":
        message = "The requested bucket name is not available."
        raise Refusal("BucketAlreadyExists", message, 409)
    raise _refusal(call, "denied", None)


def check_may_miss(call: Call, status: int) -> None:
    """Raise Refusal where S3 does not tell that there is no such object: who may not list."""
    found = s3.asked(call.request)
    if status != 404 or found.operation not in {"GetObject", "HeadObject"}:
        return
    principal = principal_of(call)
    asked = Asked("s3:ListBucket", f"arn:aws:s3:::{found.bucket}")
    if not may(principal, asked, call.region):
        raise _refusal(call, "denied", principal, asked)


def may(principal: Principal, asked: Asked, region: str) -> bool:
    """Tell whether a principal's policies allow an action."""
    if asked.action in ALWAYS_ALLOWED:
        return True
    context = {**principal.context, "aws:requestedregion": [region], **asked.context}
    complete = Asked(asked.action, asked.resource, context)
    return policy.decide(principal.documents, complete) == "allowed"


def principal_of(call: Call) -> Principal:
    """Return whose key a call was signed with; Refusal for a key that is nobody's."""
    key = call.scope.key
    if key == ROOT[0]:
        return Principal(f"arn:aws:iam::{ACCOUNT}:root", ROOT[1], None, [ALL], id=ACCOUNT)
    token = call.sent.headers.get("x-amz-security-token")
    try:
        if token:
            headers = {"X-Amz-Security-Token": token}
            session = AssumedRoleAccessKey(ACCOUNT, "aws", key, headers)
            made = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(key)
            documents = _documents(session.collect_policies())
            secret = session.create_credentials().secret_key
            expires_at = made.expiration if made else None
            session_id = made.user_id if made else ""
            return Principal(session.arn, secret, token, documents, expires_at, session_id)
        user = IAMUserAccessKey(ACCOUNT, "aws", key, {})
        secret = user.create_credentials().secret_key
        documents = _documents(user.collect_policies())
        user_id = iam_backends[ACCOUNT]["aws"].get_user(user.arn.rpartition("/")[2]).id
        return Principal(user.arn, secret, None, documents, id=user_id)
    except CreateAccessKeyFailure as failure:
        raise _refusal(call, "unknown", None) from failure


def documents_of(arn: str) -> list[dict[str, Any]]:
    """Return the policies of a user or a role, by its ARN; Refusal for what is neither."""
    backend = iam_backends[ACCOUNT]["aws"]
    kind, _, name = arn.rpartition(":")[2].partition("/")
    name = name.rpartition("/")[2]
    key: Any
    if kind == "user" and any(each.arn == arn for each in backend.users.values()):
        key = IAMUserAccessKey.__new__(IAMUserAccessKey)
        key._owner_user_name = name
    elif kind == "role" and any(each.arn == arn for each in backend.roles.values()):
        key = AssumedRoleAccessKey.__new__(AssumedRoleAccessKey)
        key._owner_role_name = name
    else:
        raise Refusal("NoSuchEntity", f"The entity {arn} cannot be found.")
    key.account_id, key.partition = ACCOUNT, "aws"
    return _documents(key.collect_policies())


def _documents(policies: list[Any]) -> list[dict[str, Any]]:
    return [IAMPolicy(each)._policy_json for each in policies]


def _is_over(principal: Principal) -> bool:
    return principal.expires_at is not None and principal.expires_at < utcnow()


def _refusal(
    call: Call, why: str, principal: Principal | None, asked: Asked | None = None
) -> Refusal:
    """Return it as each service words it."""
    kind = {"ec2": "ec2", "s3": "s3", "iam": "query", "sts": "query", "autoscaling": "query"}
    codes = CODES[why]
    code, status = codes[kind.get(call.service, "json")]
    message = f"The request was refused: {why}."
    if principal and asked:
        message = (
            f"User: {principal.arn} is not authorized to perform: {asked.action} on resource: "
            f"{asked.resource} because no identity-based policy allows the {asked.action} action"
        )
        if code == "UnauthorizedOperation":
            message = f"You are not authorized to perform this operation. {message}"
    return Refusal(code, message, status)


CODES = {
    "unknown": {
        "ec2": ("AuthFailure", 401),
        "s3": ("InvalidAccessKeyId", 403),
        "query": ("InvalidClientTokenId", 403),
        "json": ("UnrecognizedClientException", 400),
    },
    "signature": {
        "ec2": ("AuthFailure", 401),
        "s3": ("SignatureDoesNotMatch", 403),
        "query": ("SignatureDoesNotMatch", 403),
        "json": ("InvalidSignatureException", 400),
    },
    "expired": {
        "ec2": ("RequestExpired", 400),
        "s3": ("ExpiredToken", 400),
        "query": ("ExpiredToken", 403),
        "json": ("ExpiredTokenException", 400),
    },
    "denied": {
        "ec2": ("UnauthorizedOperation", 403),
        "s3": ("AccessDenied", 403),
        "query": ("AccessDenied", 403),
        "json": ("AccessDeniedException", 400),
    },
}
