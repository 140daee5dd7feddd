"""Auto Scaling groups in the rig keep their size, say what they did, and end when told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.aws.said import refusal
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from tests.contract.aws_cloud.conftest import ClientOf
    from tests.rig.aws.remote import Remote

NAME = "job"
SPOT = {"OnDemandPercentageAboveBaseCapacity": 0, "SpotAllocationStrategy": "capacity-optimized"}
TAGS = [{"Key": "llmcloud:job", "Value": "a-job", "PropagateAtLaunch": True}]


@pytest.fixture
def scaling(client_of: ClientOf) -> Any:
    return client_of("autoscaling")


TAG = [{"Key": "of", "Value": "template"}]


@pytest.fixture
def group(ec2: Any, scaling: Any, launch: dict[str, Any]) -> dict[str, Any]:
    """Give the parameters of a group of two spot machines in two zones."""
    names = ("ImageId", "InstanceType")
    data = {name: launch[name] for name in names} | {
        "UserData": "IyEvYmluL3NoCg==",
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    tagged = [{"ResourceType": "volume", "Tags": TAG}]
    ec2.create_launch_template(
        LaunchTemplateName=NAME, LaunchTemplateData={**data, "TagSpecifications": tagged}
    )
    zones = [{"Name": "availability-zone", "Values": ["us-east-1a", "us-east-1b"]}]
    subnets = [each["SubnetId"] for each in ec2.describe_subnets(Filters=zones)["Subnets"]]
    template = {"LaunchTemplateSpecification": {"LaunchTemplateName": NAME, "Version": "1"}}
    return {
        "AutoScalingGroupName": NAME,
        "MinSize": 0,
        "MaxSize": 2,
        "DesiredCapacity": 2,
        "VPCZoneIdentifier": ",".join(subnets),
        "MixedInstancesPolicy": {"LaunchTemplate": template, "InstancesDistribution": SPOT},
        "Tags": TAGS,
    }


def _described(scaling: Any) -> dict[str, Any]:
    (found,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])[
        "AutoScalingGroups"
    ]
    return dict(found)


def _in_service(scaling: Any) -> list[str]:
    """Look until the group is as large as is wanted; return its instances."""
    for _ in range(5):
        found = _described(scaling)
        ready = [e["InstanceId"] for e in found["Instances"] if e["LifecycleState"] == "InService"]
        if len(ready) == found["DesiredCapacity"]:
            return ready
    raise AssertionError(found)


def _activities(scaling: Any) -> list[dict[str, Any]]:
    found = scaling.describe_scaling_activities(AutoScalingGroupName=NAME)["Activities"]
    return list(found)


class TestAGroup:
    def test_launches_what_its_template_says(
        self, ec2: Any, scaling: Any, group: dict[str, Any]
    ) -> None:
        """Each in another zone, spot, with the tags of the group and of the template."""
        scaling.create_auto_scaling_group(**group)
        ids = _in_service(scaling)
        found = ec2.describe_instances(InstanceIds=ids)["Reservations"]
        machines = [one for each in found for one in each["Instances"]]
        assert {each["Placement"]["AvailabilityZone"] for each in machines} == {
            "us-east-1a",
            "us-east-1b",
        }
        assert {each["InstanceLifecycle"] for each in machines} == {"spot"}
        for each in machines:
            tags = {tag["Key"]: tag["Value"] for tag in each["Tags"]}
            assert tags["llmcloud:job"] == "a-job"
            assert tags["aws:autoscaling:groupName"] == NAME
            assert tags["aws:ec2launchtemplate:version"] == "1"
        by_tag = [{"Name": "tag:of", "Values": ["template"]}]
        assert len(ec2.describe_volumes(Filters=by_tag)["Volumes"]) == 2
        said = ec2.describe_instance_attribute(InstanceId=ids[0], Attribute="userData")
        assert said["UserData"]["Value"] == "IyEvYmluL3NoCg=="

    @pytest.mark.parametrize("loss", ["interrupt", "shut-down", "terminate"])
    def test_replaces_what_it_loses(
        self, ec2: Any, scaling: Any, group: dict[str, Any], remote: Remote, loss: str
    ) -> None:
        scaling.create_auto_scaling_group(**group)
        lost, kept = _in_service(scaling)
        if loss == "terminate":
            ec2.terminate_instances(InstanceIds=[lost])
        elif loss == "shut-down":
            remote.post("shut-down", instance_id=lost)
        else:
            remote.post("interrupt", instance_id=lost, notice_s=0)
        ids = _in_service(scaling)
        assert kept in ids
        assert lost not in ids
        assert [each["StatusCode"] for each in _activities(scaling)] == ["Successful"] * 4

    def test_shrinks_by_the_machine_that_leaves(self, scaling: Any, group: dict[str, Any]) -> None:
        """Not below its least size; an instance of nobody's is refused."""
        scaling.create_auto_scaling_group(**{**group, "MinSize": 1})
        left, kept = _in_service(scaling)
        leave = scaling.terminate_instance_in_auto_scaling_group
        leave(InstanceId=left, ShouldDecrementDesiredCapacity=True)
        assert _in_service(scaling) == [kept]
        assert _described(scaling)["DesiredCapacity"] == 1
        asked = {"InstanceId": kept, "ShouldDecrementDesiredCapacity": True}
        assert refusal(leave, **asked) == ("ValidationError", 400)
        asked["InstanceId"] = "i-00000000000000000"
        assert refusal(leave, **asked) == ("ValidationError", 400)

    def test_ends_with_its_instances_when_forced(
        self, ec2: Any, scaling: Any, group: dict[str, Any]
    ) -> None:
        scaling.create_auto_scaling_group(**group)
        ids = _in_service(scaling)
        asked = {"AutoScalingGroupName": NAME}
        assert refusal(scaling.delete_auto_scaling_group, **asked) == ("ResourceInUse", 400)
        scaling.delete_auto_scaling_group(**asked, ForceDelete=True)
        assert _described(scaling)["Status"] == "Delete in progress"
        groups = lambda: scaling.describe_auto_scaling_groups()["AutoScalingGroups"]  # noqa: E731
        eventually(lambda: not groups(), "it is gone")
        found = ec2.describe_instances(InstanceIds=ids)["Reservations"]
        assert {one["State"]["Name"] for each in found for one in each["Instances"]} == {
            "terminated"
        }
        assert refusal(scaling.delete_auto_scaling_group, **asked) == ("ValidationError", 400)

    def test_says_why_it_could_not_launch(
        self, scaling: Any, group: dict[str, Any], remote: Remote
    ) -> None:
        """It tries a zone at a time, in turn, and goes on."""
        remote.post("shortages", code="InsufficientInstanceCapacity", spot=True)
        scaling.create_auto_scaling_group(**group)
        assert not _described(scaling)["Instances"]
        _described(scaling)
        tried = _activities(scaling)
        assert len(tried) == 3
        assert {each["StatusCode"] for each in tried} == {"Failed"}
        assert all("capacity" in each["StatusMessage"] for each in tried)
        where = [json.loads(each["Details"]) for each in tried]
        zones = [each["Availability Zone"] for each in where]
        assert set(zones[:2]) == {"us-east-1a", "us-east-1b"}
        assert zones[2] == zones[0]
        assert {each["Subnet ID"] for each in where} == {*group["VPCZoneIdentifier"].split(",")}
        remote.delete("shortages")
        remote.post("shortages", code="InsufficientInstanceCapacity", zone="us-east-1a", spot=True)
        _in_service(scaling)
        zones = {each["AvailabilityZone"] for each in _described(scaling)["Instances"]}
        assert zones == {"us-east-1b"}

    def test_calls_a_type_that_a_zone_does_not_have_what_fleets_call_it(
        self, scaling: Any, group: dict[str, Any], remote: Remote
    ) -> None:
        remote.post("shortages", code="Unsupported", spot=True)
        scaling.create_auto_scaling_group(**group)
        said = _activities(scaling)[0]["StatusMessage"]
        assert said.startswith("Could not launch Spot Instances. InvalidFleetConfiguration - ")

    def test_launches_nothing_while_that_is_suspended(
        self, scaling: Any, group: dict[str, Any]
    ) -> None:
        scaling.create_auto_scaling_group(**{**group, "DesiredCapacity": 0})
        scaling.suspend_processes(AutoScalingGroupName=NAME, ScalingProcesses=["Launch"])
        scaling.set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=1)
        found = _described(scaling)
        assert not found["Instances"]
        (suspended,) = found["SuspendedProcesses"]
        assert suspended["ProcessName"] == "Launch"
        scaling.resume_processes(AutoScalingGroupName=NAME)
        assert len(_in_service(scaling)) == 1

    def test_is_found_by_its_tags(self, scaling: Any, group: dict[str, Any]) -> None:
        scaling.create_auto_scaling_group(**group)
        named = [{"Name": "tag:llmcloud:job", "Values": ["a-job"]}]
        other = [{"Name": "tag:llmcloud:job", "Values": ["another"]}]
        describe = scaling.describe_auto_scaling_groups
        assert len(describe(Filters=named)["AutoScalingGroups"]) == 1
        assert not describe(Filters=other)["AutoScalingGroups"]
        (tag,) = scaling.describe_tags()["Tags"]
        assert (tag["ResourceId"], tag["Key"], tag["Value"]) == (NAME, "llmcloud:job", "a-job")


class TestAScheduledChange:
    def test_of_sizes_is_made_when_its_time_has_come(
        self, scaling: Any, group: dict[str, Any]
    ) -> None:
        scaling.create_auto_scaling_group(**group)
        soon = datetime.now(UTC) + timedelta(seconds=1)
        scaling.put_scheduled_update_group_action(
            AutoScalingGroupName=NAME,
            ScheduledActionName="end",
            StartTime=soon,
            MinSize=0,
            MaxSize=0,
            DesiredCapacity=0,
        )
        eventually(lambda: _described(scaling)["DesiredCapacity"] == 0, "it wants no machine")
        assert datetime.now(UTC) >= soon

    def test_is_not_of_the_past(self, scaling: Any, group: dict[str, Any]) -> None:
        scaling.create_auto_scaling_group(**group)
        asked = {"AutoScalingGroupName": NAME, "ScheduledActionName": "end"}
        past = datetime.now(UTC) - timedelta(hours=1)
        said = refusal(scaling.put_scheduled_update_group_action, StartTime=past, **asked)
        assert said == ("ValidationError", 400)


class TestAGroupIsRefused:
    @pytest.mark.parametrize("reason", ["capacity", "quota"])
    def test_where_its_template_can_not_be_tried_out(
        self, scaling: Any, group: dict[str, Any], remote: Remote, reason: str
    ) -> None:
        """On demand, as the template itself says nothing of spot."""
        if reason == "capacity":
            remote.post("shortages", code="InsufficientInstanceCapacity", spot=False)
        else:
            remote.post("quotas", region="us-east-1", code="L-1216C47A", value=0)
            remote.post("quotas", region="us-east-1", code="L-DB2E81BA", value=0)
        with pytest.raises(scaling.exceptions.ClientError) as raised:
            scaling.create_auto_scaling_group(**group)
        said = raised.value.response["Error"]
        assert said["Code"] == "ValidationError"
        assert said["Message"].startswith("You must use a valid fully-formed launch template. ")
        assert reason in said["Message"] or "limit" in said["Message"]

    @pytest.mark.parametrize(
        "changed",
        [
            {"DesiredCapacity": 3},
            {"VPCZoneIdentifier": "subnet-00000000"},
            {
                "MixedInstancesPolicy": {
                    "LaunchTemplate": {
                        "LaunchTemplateSpecification": {"LaunchTemplateName": "none"}
                    }
                }
            },
        ],
    )
    def test_when_it_could_never_be(
        self, scaling: Any, group: dict[str, Any], changed: dict[str, Any]
    ) -> None:
        asked = {**group, **changed}
        assert refusal(scaling.create_auto_scaling_group, **asked) == ("ValidationError", 400)

    @pytest.mark.parametrize(
        ("more", "code"),
        [
            ({"InstanceMarketOptions": {"MarketType": "spot"}}, "InvalidQueryParameter"),
            (
                {"TagSpecifications": [{"ResourceType": "spot-instances-request", "Tags": TAG}]},
                "ValidationError",
            ),
        ],
    )
    def test_whose_template_says_itself_what_is_spot(
        self,
        ec2: Any,
        scaling: Any,
        group: dict[str, Any],
        launch: dict[str, Any],
        more: dict[str, Any],
        code: str,
    ) -> None:
        data = {name: launch[name] for name in ("ImageId", "InstanceType")} | more
        ec2.create_launch_template(LaunchTemplateName="spot", LaunchTemplateData=data)
        template = {"LaunchTemplateSpecification": {"LaunchTemplateName": "spot"}}
        asked = {**group, "MixedInstancesPolicy": {"LaunchTemplate": template}}
        assert refusal(scaling.create_auto_scaling_group, **asked) == (code, 400)

    def test_when_there_is_one_of_this_name(self, scaling: Any, group: dict[str, Any]) -> None:
        scaling.create_auto_scaling_group(**group)
        assert refusal(scaling.create_auto_scaling_group, **group) == ("AlreadyExists", 400)
