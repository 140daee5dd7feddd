"""What a job's role may do with keys, by IAM's own rules: as much as S3 and SageMaker need."""

from __future__ import annotations

from typing import Any

import pytest
from tests.rig.aws import policy
from tests.rig.aws.policy import Asked

from llmcloud.core.job import Job
from llmcloud.providers.aws.identity import Caller, node_policy, shared_policy
from llmcloud.runtime.task import DataSource, Task

CALLER = Caller("123456789012", "arn:aws:iam::123456789012:user/me")
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234-ab"
OTHER_KEY = "arn:aws:kms:us-east-1:123456789012:key/5678-cd"
FOREIGN_KEY = "arn:aws:kms:us-east-1:999999999999:key/1234-ab"
FOR_TRAINING = (
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:DescribeKey",
)


def of_job(service: str = "vm") -> dict[str, Any]:
    data = (DataSource("s3://corpus/a", "a"), DataSource("s3://corpus/b", "b"))
    job = Job(
        id="n-1", name="n", provider="aws", service=service, region="us-east-1", store="s3://store",
        created_at="2026-11-21T10:00:00.000Z", spec={}, spec_digest="d", plan={},
        runtime="r", task=Task("n-1", "n", "true", data=data),
    )  # fmt: skip
    return node_policy(job, CALLER)


def may(document: dict[str, Any], action: str, key: str = KEY, **context: str | list[str]) -> bool:
    """Tell whether a policy allows an action on a key, with `via`, `arn` and `to_aws` known."""
    names = {
        "via": "kms:viaservice",
        "arn": "kms:encryptioncontext:aws:s3:arn",
        "to_aws": "kms:grantisforawsresource",
    }
    known = {
        names[name]: value if isinstance(value, list) else [value]
        for name, value in context.items()
    }
    return policy.decide([document], Asked(action, key, known)) == "allowed"


def by_s3(document: dict[str, Any], arn: str, action: str = "kms:Decrypt", key: str = KEY) -> bool:
    return may(document, action, key, via="s3.eu-west-1.amazonaws.com", arn=arn)


@pytest.mark.parametrize("action", ["kms:Decrypt", "kms:GenerateDataKey"])
def test_s3_may_use_any_key_of_the_account_for_the_buckets_of_a_job(action: str) -> None:
    """With a Bucket Key the context is the bucket, else the object."""
    for document in (of_job(), of_job("managed"), shared_policy("store", CALLER)):
        assert by_s3(document, "arn:aws:s3:::store", action)
        assert by_s3(document, "arn:aws:s3:::store/jobs/n-1/job.json", action)
    assert by_s3(of_job(), "arn:aws:s3:::corpus/a/x", action)
    assert by_s3(of_job(), "arn:aws:s3:::corpus", action)


def test_keys_serve_nothing_else() -> None:
    arn = "arn:aws:s3:::store/jobs/n-1/x"
    for document in (of_job("managed"), shared_policy("store", CALLER)):
        assert by_s3(document, arn)
        assert not by_s3(document, "arn:aws:s3:::store-of-others/x")
        assert not by_s3(document, arn, key=FOREIGN_KEY)
        assert not by_s3(document, arn, action="kms:CreateGrant")
        assert not may(document, "kms:Decrypt", arn=arn)
        assert not may(document, "kms:Decrypt", via="ssm.us-east-1.amazonaws.com", arn=arn)
        assert not may(document, "kms:Decrypt", via="s3.us-east-1.amazonaws.com")


def test_a_bucket_is_named_once_however_many_folders_of_it_are_read() -> None:
    """A policy has little room."""
    (statement,) = (each for each in of_job()["Statement"] if each["Action"][0].startswith("kms:"))
    (contexts,) = (
        values for name, values in statement["Condition"]["StringLike"].items() if "Context" in name
    )
    assert contexts == [
        "arn:aws:s3:::store",
        "arn:aws:s3:::store/*",
        "arn:aws:s3:::corpus",
        "arn:aws:s3:::corpus/*",
    ]


@pytest.mark.parametrize("named", [KEY, "1234-ab"])
def test_training_jobs_may_use_the_key_that_the_account_names(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("LLMCLOUD_AWS_KMS_KEY", named)
    for document in (of_job("managed"), shared_policy("store", CALLER)):
        for action in FOR_TRAINING:
            assert may(document, action)
            assert not may(document, action, OTHER_KEY)
            assert not may(document, action, FOREIGN_KEY)
        assert may(document, "kms:CreateGrant", to_aws="true")
        assert not may(document, "kms:CreateGrant", to_aws="false")
        assert not may(document, "kms:ScheduleKeyDeletion")
    assert not may(of_job("vm"), "kms:Decrypt")


def test_without_such_a_key_they_may_use_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMCLOUD_AWS_KMS_KEY", raising=False)
    assert not may(of_job("managed"), "kms:Encrypt")
