"""The rig evaluates IAM's policies as IAM's reference says."""

from __future__ import annotations

from typing import Any

import pytest
from tests.rig.aws.policy import Asked, decide

BUCKET = "arn:aws:s3:::a-bucket"
TAG = "aws:ResourceTag/job"


def _decided(statement: dict[str, Any], asked: Asked, *more: dict[str, Any]) -> str:
    all_ = [{"Effect": "Allow", **statement}, *more]
    return decide([{"Version": "2012-10-17", "Statement": all_}], asked)


@pytest.mark.parametrize(
    ("statement", "is_allowed"),
    [
        ({"Action": "s3:GetObject", "Resource": "*"}, True),
        ({"Action": ["ec2:*", "S3:get*"], "Resource": f"{BUCKET}/*"}, True),
        ({"Action": "s3:PutObject", "Resource": "*"}, False),
        ({"Action": "s3:GetObject?", "Resource": "*"}, False),
        ({"NotAction": "iam:*", "Resource": "*"}, True),
        ({"NotAction": "s3:*", "Resource": "*"}, False),
        ({"Action": "*", "Resource": [BUCKET, f"{BUCKET}/jobs/?/*"]}, True),
        ({"Action": "*", "Resource": f"{BUCKET}/JOBS/*"}, False),
        ({"Action": "*", "NotResource": f"{BUCKET}/*"}, False),
        ({"Action": "*", "Resource": f"{BUCKET}/jobs/${{aws:username}}/*"}, True),
    ],
)
def test_an_action_on_a_resource_is_allowed_by_what_matches_both(
    statement: dict[str, Any], *, is_allowed: bool
) -> None:
    """Actions in any case, resources in their own."""
    asked = Asked("s3:GetObject", f"{BUCKET}/jobs/a/x", {"aws:username": ["a"]})
    assert (_decided(statement, asked) == "allowed") is is_allowed


@pytest.mark.parametrize(
    ("operator", "key", "values", "holds"),
    [
        ("StringEquals", TAG, "a", True),
        ("StringEquals", TAG, ["b", "a"], True),
        ("StringEquals", TAG, "A", False),
        ("StringEqualsIgnoreCase", TAG, "A", True),
        ("StringLike", TAG, "?", True),
        ("StringNotEquals", TAG, "a", False),
        ("StringNotLike", TAG, ["b*", "c*"], True),
        ("StringEquals", "aws:missing", "a", False),
        ("StringEqualsIfExists", "aws:missing", "a", True),
        ("StringEqualsIfExists", TAG, "b", False),
        ("StringNotEquals", "aws:missing", "a", True),
        ("Null", "aws:missing", "true", True),
        ("Null", TAG, True, False),
        ("Bool", "aws:SecureTransport", True, True),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/*", True),
        ("NumericLessThanEquals", "s3:max-keys", "10", True),
        ("ForAllValues:StringEquals", "aws:TagKeys", ["job", "owner"], True),
        ("ForAllValues:StringEquals", "aws:TagKeys", ["job"], False),
        ("ForAllValues:StringEquals", "aws:missing", ["job"], True),
        ("ForAnyValue:StringEquals", "aws:TagKeys", ["job"], True),
        ("ForAnyValue:StringEquals", "aws:missing", ["job"], False),
    ],
)
def test_a_condition_holds_by_its_operator(
    operator: str, key: str, values: object, *, holds: bool
) -> None:
    context = {
        "aws:resourcetag/job": ["a"],
        "aws:securetransport": ["true"],
        "aws:principalarn": ["arn:aws:iam::123456789012:user/submitter"],
        "s3:max-keys": ["10"],
        "aws:tagkeys": ["job", "owner"],
    }
    statement = {"Action": "*", "Resource": "*", "Condition": {operator: {key: values}}}
    asked = Asked("ec2:RunInstances", "*", context)
    assert (_decided(statement, asked) == "allowed") is holds


def test_one_denial_is_more_than_any_permission() -> None:
    everything = {"Action": "*", "Resource": "*"}
    denial = {"Effect": "Deny", "Action": "ec2:*", "Resource": "*"}
    assert _decided(everything, Asked("ec2:RunInstances", "*"), denial) == "explicitDeny"
    assert _decided(everything, Asked("s3:GetObject", "*"), denial) == "allowed"
    assert decide([], Asked("s3:GetObject", "*")) == "implicitDeny"


def test_an_operator_that_the_rig_does_not_know_is_no_silent_yes() -> None:
    condition = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    statement = {"Action": "*", "Resource": "*", "Condition": condition}
    with pytest.raises(ValueError, match="IpAddress"):
        _decided(statement, Asked("s3:GetObject", "*"))
