"""What two do at once, and what AWS has just made: found, waited for, never an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from tests.rig.aws.remote import Remote
from tests.rig.computes import COMPUTES, ComputeRig

from llmcloud.core.provider import Launch
from llmcloud.providers.aws import roles
from llmcloud.runtime.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulators

    from llmcloud.core.job import Job

REGION = "us-east-1"
SPOT = "run: 'true'\nresources: {spot: true}\n"


@pytest.fixture
def remote(emulators: Emulators, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    cloud = emulators.get("aws")
    for name, value in cloud.environ.items():
        monkeypatch.setenv(name, value)
    remote = Remote(cloud.url)
    remote.post("reset")
    yield remote
    remote.post("reset")


@pytest.fixture
def rig(remote: Remote, tmp_path: Path) -> Iterator[ComputeRig]:
    yield from COMPUTES["aws"].opened(tmp_path)


def ask(rig: ComputeRig, job: Job) -> None:
    rig.compute.launch(Launch(job, job.offers[0], 1, at=job.created_at))


def groups(job: Job) -> list[str]:
    scaling = boto3.client("autoscaling", REGION)
    found = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[f"llmcloud-{job.id}"])
    return [each["AutoScalingGroupName"] for each in found["AutoScalingGroups"]]


@pytest.mark.parametrize(
    ("text", "service", "operation", "code"),
    [
        ("run: x\n", "ec2", "RunInstances", "InvalidParameterValue"),
        ("run: x\n", "ec2", "RunInstances", "InvalidGroup.NotFound"),
        (SPOT, "autoscaling", "CreateAutoScalingGroup", "ValidationError"),
    ],
)
def test_what_is_too_new_to_be_known_everywhere_is_asked_for_again(
    rig: ComputeRig, remote: Remote, text: str, service: str, operation: str, code: str
) -> None:
    """What the service said is told, as it may be about something else."""
    remote.post("faults", service=service, operation=operation, code=code, status=400)
    job = rig.staged(text)
    with pytest.raises(Unavailable, match="not known everywhere yet: The rig was told"):
        rig.launch(job)
    rig.launch(job)


def test_what_is_refused_though_all_is_long_known_is_not(
    rig: ComputeRig, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "NEW_S", 0.0)
    remote.post("faults", service="ec2", operation="RunInstances", code="InvalidParameterValue")
    with pytest.raises(InvalidRequest):
        rig.launch(rig.staged("run: x\n"))


def test_machines_that_the_same_launch_had_and_that_are_over_are_described(
    rig: ComputeRig, remote: Remote
) -> None:
    """They could not boot, while nobody was there: the job is lost, and says why."""
    rig.launch(job := rig.staged("run: x\n"))
    boto3.client("ec2", REGION).terminate_instances(
        InstanceIds=[each.id for each in rig.compute.describe(rig.place(job))]
    )
    remote.post(
        "faults", service="ec2", operation="RunInstances", code="IdempotentInstanceTerminated"
    )
    assert all(each.is_gone for each in rig.launch(job))


class TestAGroup:
    def test_is_made_though_its_template_was_made_by_another_version(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        """Whose submit was cut off before it asked for the group."""
        remote.post(
            "faults",
            service="ec2",
            operation="CreateLaunchTemplate",
            code="IdempotentParameterMismatch",
            after=True,
        )
        ask(rig, job := rig.staged(SPOT))
        assert groups(job) == [f"llmcloud-{job.id}"]

    def test_that_is_being_deleted_is_not_the_one_that_is_asked_for(self, rig: ComputeRig) -> None:
        """By a submit that was cut off when it had withdrawn it."""
        ask(rig, job := rig.staged(SPOT))
        rig.compute.withdraw(rig.place(job))
        with pytest.raises(Unavailable):
            ask(rig, job)

    def test_that_its_own_node_deletes_meanwhile_is_deleted(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        ask(rig, job := rig.staged(SPOT))
        remote.post(
            "faults",
            service="autoscaling",
            operation="DeleteAutoScalingGroup",
            code="ValidationError",
            status=400,
            after=True,
        )
        rig.delete(job)
        assert groups(job) == []

    def test_whose_template_somebody_else_deletes_meanwhile_is_deleted(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        ask(rig, job := rig.staged(SPOT))
        remote.post(
            "faults",
            service="ec2",
            operation="DeleteLaunchTemplate",
            code="InvalidLaunchTemplateId.NotFound",
            status=400,
            after=True,
        )
        rig.delete(job)
        assert groups(job) == []
