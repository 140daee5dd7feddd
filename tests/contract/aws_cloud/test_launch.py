"""RunInstances in the rig does what EC2 does, and refuses with EC2's codes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.aws.said import refusal, states
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from tests.contract.aws_cloud.conftest import ClientOf
    from tests.rig.aws.remote import Remote

TAGS = [{"Key": "llmcloud:job", "Value": "a-job"}]
BY_TAG = [{"Name": "tag:llmcloud:job", "Values": ["a-job"]}]
TAGGED = ("instance", "volume", "network-interface")


def _ids(reservation: dict[str, Any]) -> list[str]:
    return [each["InstanceId"] for each in reservation["Instances"]]


class TestALaunch:
    def test_is_of_the_instances_that_the_request_describes(
        self, ec2: Any, launch: dict[str, Any], profile: str
    ) -> None:
        """Tags, disks, metadata options, profile and rank are on each of them."""
        made = ec2.run_instances(
            **{**launch, "MinCount": 2, "MaxCount": 2},
            UserData="#!/bin/sh\n",
            IamInstanceProfile={"Name": profile},
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            InstanceInitiatedShutdownBehavior="terminate",
            BlockDeviceMappings=[
                {
                    "DeviceName": "/dev/sda1",
                    "Ebs": {"VolumeSize": 70, "VolumeType": "gp3", "Encrypted": True},
                }
            ],
            TagSpecifications=[{"ResourceType": each, "Tags": TAGS} for each in TAGGED],
        )
        found = ec2.describe_instances(Filters=BY_TAG)["Reservations"][0]["Instances"]
        assert [each["InstanceId"] for each in found] == _ids(made)
        assert [each["AmiLaunchIndex"] for each in found] == [0, 1]
        assert {each["MetadataOptions"]["HttpTokens"] for each in found} == {"required"}
        assert all(each["IamInstanceProfile"]["Arn"].endswith("/node") for each in found)
        volumes = ec2.describe_volumes(Filters=BY_TAG)["Volumes"]
        assert [(v["Size"], v["VolumeType"], v["Encrypted"]) for v in volumes] == [
            (70, "gp3", True)
        ] * 2
        assert len(ec2.describe_network_interfaces(Filters=BY_TAG)["NetworkInterfaces"]) == 2
        said = ec2.describe_instance_attribute(InstanceId=_ids(made)[0], Attribute="userData")
        assert base64.b64decode(said["UserData"]["Value"]) == b"#!/bin/sh\n"

    def test_is_one_however_often_its_token_comes(self, ec2: Any, launch: dict[str, Any]) -> None:
        """Another request with this token is refused; in another region the token is another."""
        first = ec2.run_instances(**launch, ClientToken="once")
        again = ec2.run_instances(**launch, ClientToken="once")
        assert _ids(first) == _ids(again)
        assert first["ReservationId"] == again["ReservationId"]
        other = {**launch, "InstanceType": "g5.2xlarge", "ClientToken": "once"}
        assert refusal(ec2.run_instances, **other) == ("IdempotentParameterMismatch", 400)
        by_token = [{"Name": "client-token", "Values": ["once"]}]
        assert len(ec2.describe_instances(Filters=by_token)["Reservations"]) == 1
        ec2.terminate_instances(InstanceIds=_ids(first))
        (ended,) = ec2.run_instances(**launch, ClientToken="once")["Instances"]
        assert ended["State"]["Name"] == "shutting-down"

    def test_may_take_the_token_of_one_that_failed(
        self, ec2: Any, launch: dict[str, Any], remote: Remote
    ) -> None:
        remote.post("shortages", code="InsufficientInstanceCapacity", times=1)
        asked = {**launch, "ClientToken": "once"}
        assert refusal(ec2.run_instances, **asked)[0] == "InsufficientInstanceCapacity"
        assert len(_ids(ec2.run_instances(**asked))) == 1

    def test_goes_through_its_states_each_after_a_look(
        self, ec2: Any, launch: dict[str, Any]
    ) -> None:
        """Its disk and its interface are there until it is terminated."""
        ids = _ids(ec2.run_instances(**launch))
        assert [states(ec2, ids), states(ec2, ids)] == [["pending"], ["running"]]
        (ended,) = ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
        assert ended["PreviousState"]["Name"] == "running"
        assert ended["CurrentState"]["Name"] == "shutting-down"
        assert states(ec2, ids) == ["shutting-down"]
        assert states(ec2, ids) == ["terminated"]
        assert not ec2.describe_volumes()["Volumes"]
        assert not ec2.describe_network_interfaces()["NetworkInterfaces"]

    def test_may_not_be_seen_at_first(
        self, ec2: Any, launch: dict[str, Any], remote: Remote
    ) -> None:
        """EC2 is eventually consistent."""
        remote.post("knobs", unseen_looks=1)
        ids = _ids(ec2.run_instances(**launch))
        assert not ec2.describe_instances()["Reservations"]
        remote.post("knobs", unseen_looks=2)
        ids = _ids(ec2.run_instances(**launch))
        asked = {"InstanceIds": ids}
        assert refusal(ec2.describe_instances, **asked) == ("InvalidInstanceID.NotFound", 400)
        remote.post("look", times=2)
        assert states(ec2, ids) == ["running"]

    def test_that_is_only_tried_makes_nothing(self, ec2: Any, launch: dict[str, Any]) -> None:
        asked = {**launch, "DryRun": True}
        assert refusal(ec2.run_instances, **asked) == ("DryRunOperation", 412)
        assert not ec2.describe_instances()["Reservations"]


class TestALaunchIsRefused:
    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
            ({"ImageId": "ubuntu"}, "InvalidAMIID.Malformed"),
            ({"InstanceType": "g5.huge"}, "InvalidParameterValue"),
            ({"InstanceType": "g5g.xlarge"}, "InvalidParameterValue"),  # not of the image's kind
            ({"SubnetId": "subnet-00000000"}, "InvalidSubnetID.NotFound"),
            ({"SecurityGroupIds": ["sg-00000000"]}, "InvalidGroup.NotFound"),
            (
                {"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8}}]},
                "InvalidBlockDeviceMapping",
            ),
            ({"IamInstanceProfile": {"Name": "nobody"}}, "InvalidParameterValue"),
            ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
            ({"UserData": "x" * 17_000}, "InvalidParameterValue"),
            ({"InstanceInitiatedShutdownBehavior": "explode"}, "InvalidParameterValue"),
            ({"Placement": {"GroupName": "nowhere"}}, "InvalidPlacementGroup.Unknown"),
            (
                {"LaunchTemplate": {"LaunchTemplateName": "none"}},
                "InvalidLaunchTemplateName.NotFoundException",
            ),
        ],
    )
    def test_for_what_is_not_there_or_does_not_fit(
        self, ec2: Any, launch: dict[str, Any], changed: dict[str, Any], code: str
    ) -> None:
        assert refusal(ec2.run_instances, **{**launch, **changed}) == (code, 400)

    def test_in_a_network_that_the_security_group_is_not_of(
        self, ec2: Any, launch: dict[str, Any]
    ) -> None:
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        group = ec2.create_security_group(GroupName="job", Description="a job's", VpcId=vpc)
        asked = {**launch, "SecurityGroupIds": [group["GroupId"]]}
        assert refusal(ec2.run_instances, **asked) == ("InvalidParameter", 400)

    def test_for_a_parameter_that_ec2_has_not(self, ec2: Any, launch: dict[str, Any]) -> None:
        """The SDK would not send it, so it is put into what the SDK sends."""
        add = lambda params, **_: params["body"].update(Colour="red")  # noqa: E731
        ec2.meta.events.register("before-call.ec2.RunInstances", add)
        assert refusal(ec2.run_instances, **launch) == ("UnknownParameter", 400)

    def test_with_a_profile_that_is_too_new(
        self, ec2: Any, launch: dict[str, Any], profile: str, remote: Remote
    ) -> None:
        remote.post("knobs", profile_refusals=2)
        asked = {**launch, "IamInstanceProfile": {"Name": profile}}
        for _ in range(2):
            assert refusal(ec2.run_instances, **asked) == ("InvalidParameterValue", 400)
        assert _ids(ec2.run_instances(**asked))

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("InsufficientInstanceCapacity", 500),
            ("Unsupported", 400),
            ("UnfulfillableCapacity", 400),
            ("MaxSpotInstanceCountExceeded", 400),
            ("VcpuLimitExceeded", 400),
        ],
    )
    def test_where_a_test_says_that_there_is_a_shortage(
        self, ec2: Any, launch: dict[str, Any], remote: Remote, code: str, status: int
    ) -> None:
        """Other zones and types still have some."""
        remote.post("shortages", code=code, zone="us-east-1a", instance_type="g5.xlarge")
        assert refusal(ec2.run_instances, **launch) == (code, status)
        assert _ids(ec2.run_instances(**{**launch, "InstanceType": "g5.2xlarge"}))
        del launch["SubnetId"]
        (made,) = ec2.run_instances(**launch)["Instances"]
        assert made["Placement"]["AvailabilityZone"] == "us-east-1b"

    def test_beyond_the_quota(self, ec2: Any, launch: dict[str, Any], remote: Remote) -> None:
        """It counts vCPUs of the family, on demand and spot apart."""
        remote.post("quotas", region="us-east-1", code="L-DB2E81BA", value=7)
        assert _ids(ec2.run_instances(**launch))
        assert refusal(ec2.run_instances, **launch) == ("VcpuLimitExceeded", 400)
        spot = {**launch, "InstanceMarketOptions": {"MarketType": "spot"}}
        assert _ids(ec2.run_instances(**spot))
        remote.post("quotas", region="us-east-1", code="L-3819A6DF", value=4)
        assert refusal(ec2.run_instances, **spot) == ("MaxSpotInstanceCountExceeded", 400)

    def test_where_no_zone_has_such_machines(self, ec2: Any, launch: dict[str, Any]) -> None:
        offered = ec2.describe_instance_type_offerings(
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": ["p5en.48xlarge"]}],
        )
        has = {each["Location"] for each in offered["InstanceTypeOfferings"]}
        subnets = ec2.describe_subnets()["Subnets"]
        (without, *_) = [each for each in subnets if each["AvailabilityZone"] not in has]
        asked = {**launch, "InstanceType": "p5en.48xlarge", "SubnetId": without["SubnetId"]}
        assert refusal(ec2.run_instances, **asked) == ("Unsupported", 400)


class TestSpot:
    def test_instances_have_a_request_that_ends_with_them(
        self, ec2: Any, launch: dict[str, Any], remote: Remote
    ) -> None:
        (made,) = ec2.run_instances(
            **launch,
            InstanceMarketOptions={"MarketType": "spot"},
            TagSpecifications=[{"ResourceType": "spot-instances-request", "Tags": TAGS}],
        )["Instances"]
        assert made["InstanceLifecycle"] == "spot"
        (request,) = ec2.describe_spot_instance_requests(Filters=BY_TAG)["SpotInstanceRequests"]
        assert request["SpotInstanceRequestId"] == made["SpotInstanceRequestId"]
        assert request["State"] == "active"
        remote.post("interrupt", instance_id=made["InstanceId"], notice_s=0)
        (request,) = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
        assert (request["State"], request["Status"]["Code"]) == (
            "closed",
            "instance-terminated-no-capacity",
        )
        remote.post("look", times=2)
        found = ec2.describe_instances(InstanceIds=[made["InstanceId"]])
        (ended,) = found["Reservations"][0]["Instances"]
        assert ended["State"]["Name"] == "terminated"
        assert ended["StateReason"]["Code"] == "Server.SpotInstanceTermination"

    def test_has_a_price_that_a_bid_must_reach(
        self, ec2: Any, launch: dict[str, Any], remote: Remote
    ) -> None:
        remote.post("spot-prices", region="us-east-1", instance_type="g5.xlarge", usd_per_hour=0.5)
        history = ec2.describe_spot_price_history(InstanceTypes=["g5.xlarge"], MaxResults=1)
        assert float(history["SpotPriceHistory"][0]["SpotPrice"]) == 0.5
        assert history["NextToken"]
        options = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.4"}}
        asked = {**launch, "InstanceMarketOptions": options}
        assert refusal(ec2.run_instances, **asked) == ("SpotMaxPriceTooLow", 400)


class TestGroups:
    def test_of_security_stay_while_anything_uses_them(
        self, ec2: Any, launch: dict[str, Any]
    ) -> None:
        group = ec2.create_security_group(GroupName="job", Description="a job's")["GroupId"]
        ids = _ids(ec2.run_instances(**launch, SecurityGroupIds=[group]))
        asked = {"GroupId": group}
        assert refusal(ec2.delete_security_group, **asked) == ("DependencyViolation", 400)
        ec2.terminate_instances(InstanceIds=ids)
        assert refusal(ec2.delete_security_group, **asked) == ("DependencyViolation", 400)
        ec2.delete_security_group(**asked)
        assert refusal(ec2.delete_security_group, **asked) == ("InvalidGroup.NotFound", 400)

    def test_of_placement_stay_while_instances_are_in_them(
        self, ec2: Any, launch: dict[str, Any]
    ) -> None:
        ec2.create_placement_group(GroupName="near", Strategy="cluster")
        ids = _ids(ec2.run_instances(**launch, Placement={"GroupName": "near"}))
        asked = {"GroupName": "near"}
        duplicate = {**asked, "Strategy": "cluster"}
        assert refusal(ec2.create_placement_group, **duplicate)[0] == (
            "InvalidPlacementGroup.Duplicate"
        )
        assert refusal(ec2.delete_placement_group, **asked)[0] == "InvalidPlacementGroup.InUse"
        ec2.terminate_instances(InstanceIds=ids)
        assert refusal(ec2.delete_placement_group, **asked)[0] == "InvalidPlacementGroup.InUse"
        eventually(lambda: states(ec2, ids) == ["terminated"], "it is gone")
        ec2.delete_placement_group(**asked)
        assert not ec2.describe_placement_groups()["PlacementGroups"]


def test_every_region_is_a_place_of_its_own(
    client_of: ClientOf, ec2: Any, launch: dict[str, Any]
) -> None:
    """An image of one is unknown in another, and so is an instance."""
    west = client_of("ec2", "us-west-2")
    assert refusal(west.describe_images, ImageIds=[launch["ImageId"]])[0] == "InvalidAMIID.NotFound"
    ids = _ids(ec2.run_instances(**launch))
    assert refusal(west.terminate_instances, InstanceIds=ids)[0] == "InvalidInstanceID.NotFound"
