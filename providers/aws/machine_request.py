"""The request that makes EC2 machines, as a value: the same for a plan and for a launch."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws import names, offers
from llmcloud.providers.aws.network import tagged
from llmcloud.runtime import status
from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.core.catalog import Listing
    from llmcloud.core.provider import Launch, Offer
    from llmcloud.core.spec.models import JobSpec

GIB = 1 << 30
DISK_GIB, ACCELERATED_DISK_GIB = 30, 150
# Of a group whose template says so itself, the refusals would be told in words, without codes.
ONLY_SPOT = {
    "OnDemandBaseCapacity": 0,
    "OnDemandPercentageAboveBaseCapacity": 0,
    "SpotAllocationStrategy": "price-capacity-optimized",
}
TAGGED = ("instance", "volume", "network-interface")


@dataclass(frozen=True)
class Where:
    """All that a machine is made of and with, but for what the job itself says.

    `is_public` tells whether the subnets give machines public addresses.
    """

    image: str
    root_device: str
    root_gib: int
    subnets: tuple[str, ...]
    is_public: bool
    group: str
    profile: str
    placement: str | None
    user_data: str
    tags: Mapping[str, str]


def run_instances(launch: Launch, spec: JobSpec, where: Where) -> dict[str, Any]:
    """Return the parameters of RunInstances: N machines in one zone, or none."""
    nodes = launch.job.task.nodes
    return {
        **template(launch.offer, spec, where),
        "MinCount": nodes,
        "MaxCount": nodes,
        "ClientToken": token(launch),
    }


def run(ec2: Any, asked: Mapping[str, Any], user_data: str) -> list[dict[str, Any]]:
    """Make RunInstances, and return the instances; of this one request the SDK encodes the data."""
    made: list[dict[str, Any]] = ec2.run_instances(**{**asked, "UserData": user_data})["Instances"]
    return made


def spot_template(launch: Launch, spec: JobSpec, where: Where) -> dict[str, Any]:
    """Return the parameters of CreateLaunchTemplate for machines that may be taken away.

    Their spot requests bear no tags: a request that makes none may not have any to put on them, and
    a template is tried out by such a one. They cost nothing, and end with their machines.
    """
    data = template(launch.offer, spec, where)
    for interface in data["NetworkInterfaces"]:
        del interface["SubnetId"]  # the group says where
    return {
        "LaunchTemplateName": template_name(launch),
        "LaunchTemplateData": data,
        "TagSpecifications": [tagged("launch-template", where.tags)],
        "ClientToken": token(launch),
    }


def group_request(launch: Launch, where: Where) -> dict[str, Any]:
    """Return the parameters of CreateAutoScalingGroup: as many machines as the job has nodes."""
    nodes, name = launch.job.task.nodes, names.of_job(launch.job.id)
    return {
        "AutoScalingGroupName": name,
        "MixedInstancesPolicy": {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateName": template_name(launch),
                    "Version": "1",
                }
            },
            "InstancesDistribution": ONLY_SPOT,
        },
        "MinSize": 0,  # so that machines that are done can leave
        "MaxSize": nodes,
        "DesiredCapacity": nodes,
        "VPCZoneIdentifier": ",".join(where.subnets),
        "HealthCheckType": "EC2",
        "Tags": [
            {
                "Key": key,
                "Value": value,
                "PropagateAtLaunch": False,
                "ResourceId": name,
                "ResourceType": "auto-scaling-group",
            }
            for key, value in where.tags.items()
        ],
    }


def group_end(launch: Launch) -> dict[str, Any] | None:
    """Return the parameters of PutScheduledUpdateGroupAction: no machine beyond the job's limit.

    None for a job without one.
    """
    expires = names.expires_epoch_s(launch)
    if expires is None:
        return None
    name = names.of_job(launch.job.id)
    return {
        "AutoScalingGroupName": name,
        "ScheduledActionName": name,
        "StartTime": status.rfc3339(expires + names.EXPIRY_MARGIN_S),
        "MinSize": 0,
        "MaxSize": 0,
        "DesiredCapacity": 0,
    }


def template_name(launch: Launch) -> str:
    """Return the name of a launch's template: those of a job differ, as they say where."""
    zone = f"-{launch.zone}" if launch.zone else ""
    return f"{names.of_job(launch.job.id)}-{launch.number}{zone}"


def template(offer: Offer, spec: JobSpec, where: Where) -> dict[str, Any]:
    """Return what RunInstances and launch templates have in common."""
    made: dict[str, Any] = {
        "ImageId": where.image,
        "InstanceType": offer.instance_type,
        "NetworkInterfaces": _interfaces(spec, offer, where),
        "IamInstanceProfile": {"Name": where.profile},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpEndpoint": "enabled",
            "HttpPutResponseHopLimit": 1,
        },
        "BlockDeviceMappings": [
            {
                "DeviceName": where.root_device,
                "Ebs": {
                    "VolumeSize": disk_gib(spec, offer, where.root_gib),
                    "VolumeType": "gp3",
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "UserData": base64.b64encode(where.user_data.encode()).decode(),
        "TagSpecifications": [tagged(kind, where.tags) for kind in TAGGED],
    }
    if where.placement:
        made["Placement"] = {"GroupName": where.placement}
    return made


def token(launch: Launch) -> str:
    """Return what makes RunInstances idempotent: of the same launch in the same zone."""
    said = f"{launch.job.id} {launch.number} {launch.zone}"
    return hashlib.sha256(said.encode()).hexdigest()


def disk_gib(spec: JobSpec, offer: Offer, least_gib: int) -> int:
    """Return the size of the disk that the largest role asks for, and the image needs."""
    asked = [group.machine.disk.bytes for group in spec.machine_groups() if group.machine.disk]
    usual = ACCELERATED_DISK_GIB if offer.accelerators else DISK_GIB
    return max(math.ceil(max(asked) / GIB) if asked else usual, least_gib)


def uses_rdma(spec: JobSpec, offer: Offer) -> bool:
    """Tell whether the nodes of a job reach one another by EFA, and so are put close together."""
    return _with_rdma(spec, offer) is not None


def _with_rdma(spec: JobSpec, offer: Offer) -> Listing | None:
    """Return the type by whose EFA the nodes of a job reach one another, if they do."""
    listing = offers.read().find(offer.instance_type)
    if len(spec.role_list()) > 1 and listing and listing.rdma_interfaces:
        return listing
    return None


def region_of(offer: Offer) -> str:
    """Return where an offer is; InvalidRequest for one that does not say."""
    if not offer.region:
        raise InvalidRequest("An offer of AWS names its region.")
    return offer.region


def rdma_in_public(spec: JobSpec, offer: Offer) -> str:
    """Say how many of its EFA interfaces a machine has in a public subnet; "" where that is all.

    It has one network interface there, as with several it would get no public address.
    """
    listing = _with_rdma(spec, offer)
    if listing is None or listing.network_cards == 1:
        return ""
    return f"{int(_has_rdma_first(listing))} of its {listing.rdma_interfaces} EFA interfaces"


def _interfaces(spec: JobSpec, offer: Offer, where: Where) -> list[dict[str, Any]]:
    """Return a machine's interfaces: with EFA one a network card, and one for all else.

    They are laid out as docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-acc-inst-types.html says.
    """
    one: dict[str, Any] = {
        "DeviceIndex": 0,
        "SubnetId": where.subnets[0],
        "Groups": [where.group],
        "DeleteOnTermination": True,
    }
    listing = _with_rdma(spec, offer)
    if listing is None:
        return [one]
    if where.is_public or listing.network_cards == 1:
        return [one | {"InterfaceType": "efa"} if _has_rdma_first(listing) else one]
    places = [(0, 1)] if _has_rdma_first(listing) else []
    places += [(card, 0) for card in range(1, listing.network_cards)]
    rest = [
        one | {"NetworkCardIndex": card, "DeviceIndex": device, "InterfaceType": "efa-only"}
        for card, device in places
    ]
    return [one | {"NetworkCardIndex": 0}, *rest]


def _has_rdma_first(listing: Listing) -> bool:
    return listing.rdma_interfaces == listing.network_cards
