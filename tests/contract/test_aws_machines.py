"""What EC2 machines are made of and where: network, disk, image, tags, and what is put close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from tests.rig.aws.account import ACCOUNT
from tests.rig.computes import COMPUTES, ComputeRig
from tests.rig.waits import eventually

from llmcloud.core.provider import Launch, Offer
from llmcloud.providers.aws import machine_images, names
from llmcloud.runtime import status
from llmcloud.runtime.errors import InvalidRequest, NoCapacity, QuotaExceeded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rig.aws.remote import Remote

    from llmcloud.core.job import Job

REGION = "us-east-1"
LABELLED = "labels: {team: nlp}\nlimits: {max_duration: 1h}\n"


@pytest.fixture
def rig(remote: Remote, tmp_path: Path) -> Iterator[ComputeRig]:
    yield from COMPUTES["aws"].opened(tmp_path)


@pytest.fixture
def ec2(remote: Remote) -> Any:
    return boto3.client("ec2", REGION)


def instances(ec2: Any, job: Job) -> list[dict[str, Any]]:
    found = ec2.describe_instances(Filters=[{"Name": "tag:llmcloud:job", "Values": [job.id]}])
    return [each for reservation in found["Reservations"] for each in reservation["Instances"]]


def launched(rig: ComputeRig, text: str) -> Job:
    job = rig.staged(f"run: 'true'\n{text}")
    rig.launch(job)
    return job


def assert_tagged(rig: ComputeRig, job: Job, tagged: dict[str, list[dict[str, str]]]) -> None:
    """Check that each of these bears all of a labelled job's tags."""
    expires_s = status.epoch_s(job.created_at) + 3600 + names.EXPIRY_MARGIN_S
    expected = {
        "Name": f"llmcloud-{job.id}",
        "team": "nlp",
        "llmcloud:job": job.id,
        "llmcloud:attempt": "1",
        "llmcloud:expires": status.rfc3339(expires_s),
        "llmcloud:owner": f"arn:aws:iam::{ACCOUNT}:user/submitter",
        "llmcloud:spec": job.spec_digest,
        "llmcloud:store": rig.store.url,
    }
    for kind, tags in tagged.items():
        assert expected.items() <= names.as_dict(tags).items(), kind


def test_everything_bears_the_jobs_tags_and_labels(rig: ComputeRig, ec2: Any) -> None:
    job = launched(rig, LABELLED)
    (instance,) = instances(ec2, job)
    volume = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    interface = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    group = instance["NetworkInterfaces"][0]["Groups"][0]["GroupId"]
    role = boto3.client("iam").get_role(RoleName=f"llmcloud-{job.id}")["Role"]
    tagged = {
        "instance": instance["Tags"],
        "volume": ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Tags"],
        "interface": ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])[
            "NetworkInterfaces"
        ][0]["TagSet"],
        "group": ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["Tags"],
        "role": role["Tags"],
    }
    assert_tagged(rig, job, tagged)


def test_so_does_all_that_brings_spot_machines_and_what_it_brings(
    rig: ComputeRig, ec2: Any
) -> None:
    job = launched(rig, f"{LABELLED}resources: {{spot: true}}\n")
    (instance,) = eventually(lambda: instances(ec2, job), "a machine came")
    assert instance["InstanceLifecycle"] == "spot"
    (template,) = ec2.describe_launch_templates()["LaunchTemplates"]
    scaling = boto3.client("autoscaling", REGION)
    (group,) = scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    tagged = {
        "instance": instance["Tags"],
        "template": template["Tags"],
        "group": group["Tags"],
    }
    assert_tagged(rig, job, tagged)


def test_data_from_more_places_than_a_role_may_name_is_refused(
    rig: ComputeRig, remote: Remote
) -> None:
    s3, folders = boto3.client("s3"), [f"{'folder' * 20}-{number}" for number in range(30)]
    s3.create_bucket(Bucket="many")
    for folder in folders:
        s3.put_object(Bucket="many", Key=f"{folder}/a", Body=b"a")
    data = "".join(f"- {{source: 's3://many/{each}', target: {each[-9:]}}}\n" for each in folders)
    job = rig.staged(f"run: 'true'\ndata:\n{data}")
    remote.delete("requests")
    with pytest.raises(InvalidRequest, match="more places"):
        rig.launch(job)
    asked = {operation for _, operation in remote.calls()}
    assert not asked & {"CreateRole", "PutRolePolicy", "RunInstances"}


def test_a_machine_is_closed_and_ends_with_its_node(rig: ComputeRig, ec2: Any) -> None:
    """No key pair, no way in, tokens for the metadata, an encrypted disk that goes with it."""
    (instance,) = instances(ec2, job := launched(rig, "resources: {disk: 77GB}\n"))
    assert "KeyName" not in instance
    metadata = instance["MetadataOptions"]
    assert (metadata["HttpTokens"], metadata["HttpPutResponseHopLimit"]) == ("required", 1)
    group = instance["NetworkInterfaces"][0]["Groups"][0]["GroupId"]
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    (rule,) = found["IpPermissions"]
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [group]
    assert rule["IpRanges"] == []
    disk = instance["BlockDeviceMappings"][0]["Ebs"]
    assert disk["DeleteOnTermination"]
    (volume,) = ec2.describe_volumes(VolumeIds=[disk["VolumeId"]])["Volumes"]
    assert (volume["VolumeType"], volume["Encrypted"], volume["Size"]) == ("gp3", True, 72)
    behaviour = ec2.describe_instance_attribute(
        InstanceId=instance["InstanceId"], Attribute="instanceInitiatedShutdownBehavior"
    )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    assert job.id in instance["IamInstanceProfile"]["Arn"]


def test_a_disk_has_room_for_the_image_whatever_was_asked_for(rig: ComputeRig, ec2: Any) -> None:
    (instance,) = instances(ec2, launched(rig, "resources: {disk: 1GB}\n"))
    (image,) = ec2.describe_images(ImageIds=[instance["ImageId"]])["Images"]
    (volume,) = ec2.describe_volumes()["Volumes"]
    assert volume["Size"] == image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] > 1


def test_several_nodes_with_efa_are_put_close_and_may_talk(
    rig: ComputeRig, remote: Remote, ec2: Any
) -> None:
    job = launched(rig, "resources: {instance_type: p4d.24xlarge, nodes: 2}\n")
    found = instances(ec2, job)
    (place,) = ec2.describe_placement_groups()["PlacementGroups"]
    assert (place["GroupName"], place["Strategy"]) == (f"llmcloud-{job.id}", "cluster")
    assert {each["Placement"]["GroupName"] for each in found} == {place["GroupName"]}
    (asked,) = (e["params"] for e in remote.get("requests") if e["operation"] == "RunInstances")
    assert asked["NetworkInterfaces"][0]["InterfaceType"] == "efa"  # which moto forgets
    group = found[0]["NetworkInterfaces"][0]["Groups"][0]["GroupId"]
    (rules,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    out = [p["GroupId"] for rule in rules["IpPermissionsEgress"] for p in rule["UserIdGroupPairs"]]
    assert out == [group]


def test_a_machine_without_efa_on_its_first_card_has_none_where_it_is_public(
    rig: ComputeRig, ec2: Any, remote: Remote
) -> None:
    launched(rig, "resources: {instance_type: p6-b300.48xlarge, nodes: 2}\n")
    (interface,) = interfaces(remote)
    assert "InterfaceType" not in interface


def test_one_node_is_put_anywhere(rig: ComputeRig, ec2: Any) -> None:
    (instance,) = instances(ec2, launched(rig, "resources: {instance_type: p4d.24xlarge}\n"))
    assert not instance["Placement"]["GroupName"]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("", "ubuntu-noble-24.04"),
        ("image: pytorch", "PyTorch 2.12 (Ubuntu 24.04)"),
        ("accelerator: 'A10G:1'", "Base OSS Nvidia"),
        ("accelerator: 'Trainium:1'", "Neuron"),
    ],
)
def test_the_image_suits_the_machine(rig: ComputeRig, ec2: Any, asked: str, name: str) -> None:
    (instance,) = instances(ec2, launched(rig, f"resources: {{{asked}}}\n"))
    (image,) = ec2.describe_images(ImageIds=[instance["ImageId"]])["Images"]
    assert name in image["Name"]


def test_the_image_is_of_the_machines_architecture() -> None:
    offer = Offer("aws", "vm", REGION, "m7g.large", 2, 1 << 33, 0.1, architecture="arm64")
    assert "/arm64/" in machine_images.wanted(None, offer)
    assert "/arm64/" in machine_images.wanted("pytorch", offer)


def test_an_image_that_there_is_not_is_told_before_anything_is_launched(
    rig: ComputeRig, ec2: Any
) -> None:
    job = rig.staged("run: x\nresources: {image: ami-00000000000000000}\n")
    with pytest.raises(InvalidRequest, match="ami-0000") as raised:
        rig.launch(job)
    assert "image" in raised.value.where
    assert instances(ec2, job) == []


class TestNamedSubnets:
    def test_machines_are_put_there(
        self, rig: ComputeRig, ec2: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        zone = f"{REGION}c"
        made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone=zone)
        subnet = made["Subnet"]["SubnetId"]
        monkeypatch.setenv("LLMCLOUD_AWS_SUBNETS", subnet)
        (instance,) = instances(ec2, launched(rig, ""))
        assert instance["SubnetId"] == subnet
        assert instance["VpcId"] == vpc

    @pytest.mark.parametrize("spot", [False, True])
    @pytest.mark.parametrize(
        ("kind", "cards", "first"),
        [
            ("p4d.24xlarge", 4, [(0, 1)]),
            ("p5.48xlarge", 32, [(0, 1)]),
            ("p6-b300.48xlarge", 17, []),
        ],
    )
    def test_machines_have_an_efa_a_card_where_they_are_not_public(
        self,
        rig: ComputeRig,
        ec2: Any,
        remote: Remote,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
        cards: int,
        first: list[tuple[int, int]],
        spot: bool,
    ) -> None:
        """With several interfaces, a machine would get no public address."""
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=f"{REGION}{zone}"
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate("abcd")
        ]
        monkeypatch.setenv("LLMCLOUD_AWS_SUBNETS", ",".join(subnets))
        asked = f"{{instance_type: {kind}, nodes: 2, spot: {str(spot).lower()}}}"
        launched(rig, f"resources: {asked}\n")
        (primary, *rest) = interfaces(remote)
        assert (primary["NetworkCardIndex"], primary["DeviceIndex"]) == (0, 0)
        assert "InterfaceType" not in primary
        assert {each["InterfaceType"] for each in rest} == {"efa-only"}
        places = [(each["NetworkCardIndex"], each["DeviceIndex"]) for each in rest]
        assert places == first + [(card, 0) for card in range(1, cards)]

    def test_a_region_that_has_none_of_them_is_passed_over(
        self, rig: ComputeRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LLMCLOUD_AWS_SUBNETS", "subnet-00000000000000000")
        job = rig.staged()
        with pytest.raises(NoCapacity, match="LLMCLOUD_AWS_SUBNETS"):
            rig.compute.zones(job, job.offers[0])

    def test_those_of_two_networks_are_refused(
        self, rig: ComputeRig, ec2: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subnets = []
        for number in (8, 9):
            vpc = ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"]
            made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.{number}.1.0/24")
            subnets.append(made["Subnet"]["SubnetId"])
        monkeypatch.setenv("LLMCLOUD_AWS_SUBNETS", ",".join(subnets))
        job = rig.staged()
        with pytest.raises(InvalidRequest, match="several networks"):
            rig.compute.zones(job, job.offers[0])


def interfaces(remote: Remote) -> list[dict[str, Any]]:
    """Return the interfaces that a launch, or the template of a group, asked for."""
    asked = {each["operation"]: each["params"] for each in remote.get("requests")}
    template = asked.get("CreateLaunchTemplate", {}).get("LaunchTemplateData")
    found: list[dict[str, Any]] = (template or asked["RunInstances"])["NetworkInterfaces"]
    return found


def ask(rig: ComputeRig, job: Job) -> None:
    offer = job.offers[0]
    rig.compute.launch(Launch(job, offer, 1, f"{REGION}a", at=job.created_at))


def test_a_role_that_is_not_known_everywhere_is_asked_for_again(
    rig: ComputeRig, remote: Remote, ec2: Any
) -> None:
    remote.post("knobs", profile_refusals=1)
    job = rig.staged()
    with pytest.raises(Unavailable, match="role"):
        ask(rig, job)
    ask(rig, job)
    assert len(instances(ec2, job)) == 1


def test_the_same_launch_in_the_same_zone_makes_machines_once(rig: ComputeRig, ec2: Any) -> None:
    job = rig.staged()
    ask(rig, job)
    ask(rig, job)
    assert len(instances(ec2, job)) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [("InsufficientInstanceCapacity", NoCapacity), ("VcpuLimitExceeded", QuotaExceeded)],
)
def test_what_there_is_none_of_may_be_elsewhere(
    rig: ComputeRig, remote: Remote, code: str, kind: type[Exception]
) -> None:
    remote.post("faults", service="ec2", operation="RunInstances", code=code)
    with pytest.raises(kind):
        ask(rig, rig.staged())


def test_what_a_job_has_in_another_region_is_found(rig: ComputeRig) -> None:
    rig.more = "region: us-west-2\n"
    launched(rig, "")
    found = rig.compute.leftovers(frozenset(), frozenset({rig.store.url}))
    kinds = {each.kind for each in found if each.id.startswith("us-west-2/")}
    assert kinds == {"machine", "security group"}


class TestTheEndOfAGroup:
    """What brings spot machines back must not do so for ever, whatever becomes of its nodes."""

    def test_it_is_with_the_jobs_limit_and_the_cloud_sees_to_it(
        self, rig: ComputeRig, remote: Remote
    ) -> None:
        job = launched(rig, "resources: {spot: true}\nlimits: {max_duration: 2h}\n")
        (asked,) = (
            each["params"]
            for each in remote.get("requests")
            if each["operation"] == "PutScheduledUpdateGroupAction"
        )
        assert asked["AutoScalingGroupName"] == f"llmcloud-{job.id}"
        assert (asked["MinSize"], asked["MaxSize"], asked["DesiredCapacity"]) == (0, 0, 0)
        ends_s = status.epoch_s(str(asked["StartTime"]).replace(" ", "T"))
        limit_s = status.epoch_s(job.created_at) + 7200
        assert limit_s < ends_s <= limit_s + names.EXPIRY_MARGIN_S + 1

    def test_a_job_without_a_limit_has_none(self, rig: ComputeRig, remote: Remote) -> None:
        launched(rig, "resources: {spot: true}\n")
        assert ("autoscaling", "PutScheduledUpdateGroupAction") not in remote.calls()
