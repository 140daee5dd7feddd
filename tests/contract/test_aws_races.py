"""What two do at once, what AWS has just made, and what it shows to others only: no errors."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from tests.rig.computes import COMPUTES, ComputeRig

from llmcloud.core.provider import Launch, MachineState
from llmcloud.providers.aws import identity, instance_leftovers, instance_role, names, roles
from llmcloud.providers.aws.credentials import Account
from llmcloud.providers.aws.roles import Role, Roles
from llmcloud.runtime.errors import (
    InvalidRequest,
    NoCapacity,
    PermissionDenied,
    QuotaExceeded,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rig.aws.remote import Remote

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Machine

REGION = "us-east-1"
CLOSE = "run: x\nresources: {instance_type: p4d.24xlarge, nodes: 2}\n"
SPOT = "run: 'true'\nresources: {spot: true}\n"
QUOTA, SPOT_QUOTA = "L-1216C47A", "L-34B43A08"
LOOKS = 20  # more than a region has zones


@pytest.fixture
def rig(remote: Remote, tmp_path: Path) -> Iterator[ComputeRig]:
    yield from COMPUTES["aws"].opened(tmp_path)


def ask(rig: ComputeRig, job: Job) -> None:
    rig.compute.launch(Launch(job, job.offers[0], 1, at=job.created_at))


def groups(job: Job) -> list[str]:
    scaling = boto3.client("autoscaling", REGION)
    found = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[f"llmcloud-{job.id}"])
    return [each["AutoScalingGroupName"] for each in found["AutoScalingGroups"]]


def activities(job: Job) -> list[Any]:
    scaling = boto3.client("autoscaling", REGION)
    found = scaling.describe_scaling_activities(AutoScalingGroupName=f"llmcloud-{job.id}")
    return list(found["Activities"])


def looks(rig: ComputeRig, job: Job) -> list[Machine]:
    """Return what a job's one machine is, look by look, until it comes no more."""
    found: list[Machine] = []
    while len(found) < LOOKS:
        found += rig.compute.describe(rig.place(job))
        if found[-1].state is not MachineState.COMING:
            break
    return found


def zones_of(rig: ComputeRig, job: Job) -> list[str]:
    """Return the zones that a group of the job may use."""
    on_demand = dataclasses.replace(job.offers[0], spot=False)
    return [str(each) for each in rig.compute.zones(job, on_demand)]


UNKNOWN_PROFILE = "Value (x) for parameter iamInstanceProfile.name is invalid."


@pytest.mark.parametrize(
    ("text", "operation", "code", "message"),
    [
        ("run: x\n", "RunInstances", "InvalidParameterValue", UNKNOWN_PROFILE),
        ("run: x\n", "RunInstances", "InvalidGroup.NotFound", "It does not exist"),
        (CLOSE, "RunInstances", "InvalidPlacementGroup.Unknown", "It is unknown"),
        (
            SPOT,
            "CreateAutoScalingGroup",
            "ValidationError",
            f"No valid template. {UNKNOWN_PROFILE}",
        ),
    ],
)
def test_what_is_too_new_to_be_known_everywhere_is_asked_for_again(
    rig: ComputeRig, remote: Remote, text: str, operation: str, code: str, message: str
) -> None:
    """What the service said is told, as it may be about something else."""
    remote.post("faults", operation=operation, code=code, message=message, status=400)
    job = rig.staged(text)
    with pytest.raises(Unavailable, match="not known everywhere yet: ") as raised:
        rig.launch(job)
    assert message.rstrip(".") in raised.value.what
    rig.launch(job)


def test_what_is_wrong_with_something_else_is_told_at_once(rig: ComputeRig, remote: Remote) -> None:
    """Also while the role is new."""
    said = "Invalid availability zone"
    remote.post("faults", operation="RunInstances", code="InvalidParameterValue", message=said)
    with pytest.raises(InvalidRequest):
        rig.launch(rig.staged("run: x\n"))


def test_what_is_refused_though_all_is_long_known_is_not(
    rig: ComputeRig, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "NEW_S", 0.0)
    asked = {"operation": "RunInstances", "code": "InvalidParameterValue"}
    remote.post("faults", message=UNKNOWN_PROFILE, **asked)
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


def test_a_security_group_that_is_not_seen_yet_is_looked_for_again(
    rig: ComputeRig, remote: Remote
) -> None:
    """The answer to the request that made it was lost, and EC2 describes it later."""
    remote.post(
        "faults", service="ec2", operation="CreateSecurityGroup", code="InvalidGroup.Duplicate"
    )
    job = rig.staged("run: x\n")
    with pytest.raises(Unavailable, match="not seen yet"):
        rig.launch(job)
    rig.launch(job)


@pytest.mark.parametrize("way", ["Ingress", "Egress"])
def test_a_security_group_that_is_too_new_for_its_rules_is_given_them_again(
    rig: ComputeRig, remote: Remote, way: str
) -> None:
    """EC2 has made it, and answers with its id, which not all of EC2 knows yet."""
    code, operation = "InvalidGroup.NotFound", f"AuthorizeSecurityGroup{way}"
    remote.post("faults", service="ec2", operation=operation, code=code, status=400)
    job = rig.staged(CLOSE)
    with pytest.raises(Unavailable, match="not seen yet"):
        rig.launch(job)
    rig.launch(job)
    (group,) = boto3.client("ec2", REGION).describe_security_groups(
        Filters=[{"Name": "group-name", "Values": [f"llmcloud-{job.id}"]}]
    )["SecurityGroups"]
    for rules in (group["IpPermissions"], group["IpPermissionsEgress"]):
        among = [pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]]
        assert among == [group["GroupId"]]


def test_who_may_make_no_roles_need_delete_none(rig: ComputeRig, remote: Remote) -> None:
    """Else no job of theirs would ever be tidied up, nor resumed."""
    trust, policy = identity.trust(), instance_role.policy()
    for name in ("RemoveRoleFromInstanceProfile", "CreateRole"):
        remote.post("faults", service="iam", operation=name, code="AccessDenied", times=0)
    job = rig.staged("run: x\n")
    with pytest.raises(PermissionDenied):
        rig.compute.delete(rig.place(job))
    remote.delete("faults")
    shared = Role(identity.SHARED_ROLE, "For all", trust, identity.POLICY, policy, {})
    Roles(Account()).make_with_profile(shared)
    for name in ("RemoveRoleFromInstanceProfile", "CreateRole"):
        remote.post("faults", service="iam", operation=name, code="AccessDenied", times=0)
    rig.launch(job)
    rig.delete(job)
    remote.delete("faults")
    assert Roles(Account()).is_there(identity.SHARED_ROLE)


class TestARegionThatIsClosed:
    """Many organisations close those that they don't use: there is nothing to be found in them."""

    @pytest.fixture
    def close(self, remote: Remote) -> Callable[[int], None]:
        def refuse(times: int) -> None:
            remote.post(
                "faults",
                service="ec2",
                operation="DescribeInstances",
                code="UnauthorizedOperation",
                status=403,
                times=times,
            )

        return refuse

    def test_hides_nothing_of_the_others(
        self, rig: ComputeRig, close: Callable[[int], None]
    ) -> None:
        rig.launch(job := rig.staged("run: x\n"))
        close(1)
        stores = frozenset([job.store])
        found = rig.compute.leftovers(frozenset(), stores)
        assert {each.kind for each in found} >= {"role"}
        (closed,) = rig.compute.closed()
        assert not any(each.id.startswith(f"{closed}/") for each in found)

    def test_is_told_where_all_are(self, rig: ComputeRig, close: Callable[[int], None]) -> None:
        close(0)
        with pytest.raises(PermissionDenied):
            rig.compute.leftovers(frozenset(), frozenset())

    def test_is_not_one_where_training_jobs_alone_may_not_be_looked_at(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        remote.post(
            "faults", service="sagemaker", operation="ListTrainingJobs", code="AccessDenied"
        )
        with pytest.raises(PermissionDenied):
            rig.compute.leftovers(frozenset(), frozenset())

    def test_may_have_the_machine_of_a_role(
        self, rig: ComputeRig, close: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody else's, who may look there."""
        monkeypatch.setattr(instance_leftovers, "MAKING_S", 0.0)
        account = Account()
        tags = {names.INSTANCE: "box", names.CREATED: "2026-01-01T00:00:00Z"}
        instance_role.profile(Roles(account), "box", tags)
        (found,) = instance_leftovers.find(account, Roles(account))
        assert found.kind == instance_leftovers.ROLE
        close(1)
        assert instance_leftovers.find(account, Roles(account)) == []


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

    def test_that_is_at_work_is_not_withdrawn_before_it_is_deleted(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        ask(rig, job := rig.staged(SPOT))
        remote.post(
            "faults",
            service="autoscaling",
            operation="DeleteAutoScalingGroup",
            code="ScalingActivityInProgress",
            status=400,
        )
        with pytest.raises(Unavailable, match="at work"):
            rig.compute.withdraw(rig.place(job))
        rig.compute.withdraw(rig.place(job))

    def test_that_can_make_nothing_says_why(self, rig: ComputeRig, remote: Remote) -> None:
        """Be it a reason that passes, or one that somebody has to do something about."""
        remote.post("shortages", code="InvalidKMSKey.InvalidState", spot=True)
        ask(rig, job := rig.staged(SPOT))
        (machine,) = rig.compute.describe(rig.place(job))
        assert machine.state is MachineState.COMING
        assert "InvalidKMSKey.InvalidState" in machine.detail

    def test_of_all_zones_goes_on_in_the_next_where_one_has_none(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        """A try is made in one zone: the last one has some."""
        *empty, last = zones_of(rig, job := rig.staged(SPOT))
        for zone in empty:
            shortage = {"code": "InsufficientInstanceCapacity", "zone": zone, "spot": True}
            remote.post("shortages", **shortage)
        ask(rig, job)
        *coming, machine = looks(rig, job)
        assert "InsufficientInstanceCapacity" in coming[0].detail
        asked = boto3.client("ec2", REGION).describe_instances(InstanceIds=[machine.id])
        ((made,),) = (each["Instances"] for each in asked["Reservations"])
        assert made["Placement"]["AvailabilityZone"] == last

    @pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "Unsupported"])
    def test_of_all_zones_is_given_up_once_each_was_tried(
        self, rig: ComputeRig, remote: Remote, code: str
    ) -> None:
        """What is Unsupported to RunInstances is InvalidFleetConfiguration to a group."""
        remote.post("shortages", code=code, spot=True)
        ask(rig, job := rig.staged(SPOT))
        with pytest.raises(NoCapacity):
            looks(rig, job)
        assert len(activities(job)) >= len(zones_of(rig, job))

    def test_is_given_up_at_once_where_a_quota_is_in_the_way(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        """It holds in all zones."""
        remote.post("quotas", region=REGION, code=SPOT_QUOTA, value=0)
        ask(rig, job := rig.staged(SPOT))
        with pytest.raises(QuotaExceeded):
            rig.compute.describe(rig.place(job))
        assert len(activities(job)) < len(zones_of(rig, job))

    @pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "Unsupported"])
    def test_that_is_refused_as_its_trial_has_no_capacity_may_be_had_elsewhere(
        self, rig: ComputeRig, remote: Remote, code: str
    ) -> None:
        """The trial is a launch on demand; how it was refused is said in words only."""
        remote.post("shortages", code=code, spot=False)
        with pytest.raises(NoCapacity):
            ask(rig, rig.staged(SPOT))

    def test_that_is_refused_as_its_trial_is_beyond_a_quota_names_both(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        remote.post("quotas", region=REGION, code=QUOTA, value=0)
        with pytest.raises(QuotaExceeded, match="vCPU limit of 0") as raised:
            ask(rig, rig.staged(SPOT))
        assert "on demand" in raised.value.fix
        assert SPOT_QUOTA in raised.value.fix

    def test_whose_security_group_is_too_new_is_asked_for_again(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        said = "You must use a valid fully-formed launch template. The security group 'sg-1' does "
        remote.post(
            "faults",
            operation="CreateAutoScalingGroup",
            code="ValidationError",
            message=f"{said}not exist",
            status=400,
        )
        job = rig.staged(SPOT)
        with pytest.raises(Unavailable, match="not known everywhere yet"):
            ask(rig, job)
        ask(rig, job)

    def test_that_auto_scaling_has_given_up_brings_no_more(self, rig: ComputeRig) -> None:
        """It suspends what could launch nothing for a day; by hand it is done the same way."""
        ask(rig, job := rig.staged(SPOT))
        boto3.client("autoscaling", REGION).suspend_processes(
            AutoScalingGroupName=f"llmcloud-{job.id}", ScalingProcesses=["Launch"]
        )
        (machine,) = rig.compute.describe(rig.place(job))
        assert machine.is_gone
        assert "User suspended at" in machine.detail
        assert f"llmcloud resume {job.id}" in machine.detail

    @pytest.mark.parametrize(
        ("service", "operation", "code"),
        [
            ("autoscaling", "DeleteAutoScalingGroup", "ValidationError"),
            ("ec2", "DeleteLaunchTemplate", "InvalidLaunchTemplateId.NotFound"),
        ],
    )
    def test_that_somebody_else_deletes_meanwhile_is_deleted(
        self, rig: ComputeRig, remote: Remote, service: str, operation: str, code: str
    ) -> None:
        """Its own node may, as the last one of the job; or it, or its template, in the console."""
        ask(rig, job := rig.staged(SPOT))
        remote.post(
            "faults", service=service, operation=operation, code=code, status=400, after=True
        )
        rig.delete(job)
        assert groups(job) == []
