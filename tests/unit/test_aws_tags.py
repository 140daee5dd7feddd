"""What an account's names and a job's labels may be, and tags may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from llmcloud.core.home import Home
from llmcloud.core.job import Job
from llmcloud.core.provider import Launch, Offer
from llmcloud.core.spec.models import JobSpec
from llmcloud.providers.aws import names, secrets
from llmcloud.providers.aws.compute import Aws
from llmcloud.providers.aws.identity import Caller
from llmcloud.providers.aws.network import Network
from llmcloud.runtime.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.providers.aws.credentials import Account


class Client:
    """A client that keeps what it is asked, and answers with what it was given."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self.answer, self.asked = answer or {}, list[dict[str, Any]]()

    def client_of(self, *_: str) -> Client:
        return self

    def put_parameter(self, **asked: Any) -> None:
        self.asked.append(asked)

    def describe_subnets(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        return self.answer

    @property
    def account(self) -> Account:
        return cast("Account", self)


def tags(labels: dict[str, str]) -> dict[str, str]:
    job = Job(
        id="n-1", name="n", provider="aws", service="vm", region="us-east-1", store="s3://b",
        created_at="2026-11-21T10:00:00.000Z", spec={"labels": labels}, spec_digest="d", plan={},
        runtime="r", task=Task("n-1", "n", "true"),
    )  # fmt: skip
    offer = Offer("aws", "vm", "us-east-1", "m7i.large", 2, 1 << 33, 0.1)
    return names.tags(Launch(job, offer, 1), "arn:aws:iam::1:user/me")


def test_no_two_tags_differ_in_case_alone() -> None:
    """IAM takes such for the same, and refuses the role."""
    assert tags({"team": "nlp"})["Name"] == "llmcloud-n-1"
    found = tags({"name": "mine", "team": "nlp"})
    assert found["name"] == "mine"
    assert len({each.lower() for each in found}) == len(found)


def test_there_is_room_for_all_labels_that_are_taken() -> None:
    most = {f"l{number}": "x" for number in range(names.LABELS)}
    assert len(tags(most)) <= 50


@pytest.mark.parametrize("service", ["vm", "managed"])
def test_more_labels_are_refused_before_anything_is_made(tmp_path: Path, service: str) -> None:
    document = {"name": "n", "run": "true", "service": service, "provider": ["aws"]}
    labels = {f"l{number}": "x" for number in range(names.LABELS + 1)}
    spec = JobSpec.model_validate({**document, "labels": labels})
    aws = Aws(Home(tmp_path, tmp_path / "config"))
    assert [each.key for each in aws.refusals(spec)] == ["labels"]
    assert not aws.refusals(spec.model_copy(update={"labels": {}}))


@pytest.mark.parametrize(
    ("arn", "tag"),
    [
        ("arn:aws:iam::1:user/a/b.c+d=e@f-g_h", "arn:aws:iam::1:user/a/b.c+d=e@f-g_h"),
        ("arn:aws:sts::1:assumed-role/R/me,you", "arn:aws:sts::1:assumed-role/R/me_you"),
        ("arn:aws:iam::1:user/" + "x" * 600, ("arn:aws:iam::1:user/" + "x" * 600)[:256]),
    ],
)
def test_who_submits_is_told_as_far_as_a_tag_can(arn: str, tag: str) -> None:
    assert Caller("1", arn).tag == tag


@pytest.mark.parametrize(("value", "tier"), [("é" * 2048, "Standard"), ("é" * 2049, "Advanced")])
def test_a_secret_of_more_than_4_kb_is_kept_as_well(value: str, tier: str) -> None:
    client = Client()
    secrets.keep(client.account, "us-east-1", "n-1", {"TOKEN": value})
    assert [(each["Type"], each["Tier"]) for each in client.asked] == [("SecureString", tier)]


def test_spaces_between_subnets_lose_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.SUBNETS, "subnet-1, subnet-2,,")
    subnet = {"SubnetId": "s", "AvailabilityZone": "a", "VpcId": "v", "AvailableIpAddressCount": 9}
    subnet["MapPublicIpOnLaunch"] = True
    client = Client({"Subnets": [subnet]})
    Network(client.account, "us-east-1").subnets()
    assert client.asked[0]["Filters"] == [{"Name": "subnet-id", "Values": ["subnet-1", "subnet-2"]}]
