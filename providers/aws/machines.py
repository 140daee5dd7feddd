"""EC2 machines of a job: the request that makes them, what is known of them, their end."""

from __future__ import annotations

import base64
import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.core.provider import Machine, MachineState
from llmcloud.providers.aws import boot, machine_images, names, offers
from llmcloud.providers.aws.errors import code_of, translated
from llmcloud.providers.aws.network import Network, Subnet, tagged
from llmcloud.runtime.errors import InvalidRequest, NoCapacity, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.core.provider import Launch, Offer, Place
    from llmcloud.core.spec.models import JobSpec
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.identity import Identity
    from llmcloud.providers.aws.machine_images import Image

GIB = 1 << 30
DISK_GIB, ACCELERATED_DISK_GIB = 30, 150
TAGGED = ("instance", "volume", "network-interface")
STATES = {
    "pending": MachineState.STARTING,
    "running": MachineState.RUNNING,
    "shutting-down": MachineState.GONE,
    "terminated": MachineState.GONE,
    "stopping": MachineState.GONE,
    "stopped": MachineState.GONE,
}
# An instance profile that was just made, which not every part of AWS knows yet.
PROFILE_UNKNOWN = {"InvalidParameterValue", "InvalidIamInstanceProfileArn.NotFound"}
MADE_ALREADY = {"IdempotentParameterMismatch"}


@dataclass(frozen=True)
class Where:
    """All that a machine is made of and with, but for what the job itself says."""

    image: str
    root_device: str
    root_gib: int
    subnet: str
    group: str
    profile: str
    placement: str | None
    user_data: str
    tags: Mapping[str, str]


class Machines:
    """The EC2 machines of an account."""

    def __init__(self, account: Account, identity: Identity) -> None:
        self._account, self._identity = account, identity
        self._subnets: dict[str, dict[str, Subnet]] = {}

    def zones(self, offer: Offer) -> list[str | None]:
        """Return the zones of an offer's region that have both its type and a subnet."""
        region = _region(offer)
        network = Network(self._account, region)
        with ThreadPoolExecutor(2) as pool:
            subnets = pool.submit(network.subnets)
            having = pool.submit(network.zones_of, offer.instance_type)
            self._subnets[region] = subnets.result()
            found = [zone for zone in self._subnets[region] if zone in having.result()]
        if not found:
            raise NoCapacity(f"No zone with a subnet has {offer.instance_type}.", where=region)
        return list(found)

    def requests(self, launch: Launch, spec: JobSpec) -> dict[str, Any]:
        """Return RunInstances as it will be, but for what only the account knows."""
        offer = launch.offer
        name = machine_images.wanted(_machine(spec).image, offer)
        where = Where(
            image=machine_images.in_plan(name),
            root_device="/dev/sda1",
            root_gib=0,
            subnet=f"(a default subnet of {offer.region})",
            group=f"(the id of {names.of_job(launch.job.id)})",
            profile=names.of_job(launch.job.id),
            placement=names.of_job(launch.job.id) if is_close(spec, offer) else None,
            user_data=boot.script(launch, offer.region or ""),
            tags=names.tags(launch, "(whoever submits)"),
        )
        return run_instances(launch, spec, where)

    def launch(self, launch: Launch, spec: JobSpec, bucket_region: str) -> list[Machine]:
        """Ask for all machines of a job in one zone, all of them or none."""
        from botocore.exceptions import ClientError

        where = self._prepare(launch, spec, boot.script(launch, bucket_region))
        asked = run_instances(launch, spec, where)
        asked["UserData"] = where.user_data  # of this one request the SDK encodes it itself
        place = f"{launch.zone}, {launch.offer.instance_type}"
        region = _region(launch.offer)
        with translated(place):
            try:
                made = self._ec2(region).run_instances(**asked)["Instances"]
            except ClientError as error:
                if code_of(error) in MADE_ALREADY:  # by another version of this program
                    return self.describe(launch.place)
                if code_of(error) in PROFILE_UNKNOWN and self._identity.is_new(where.profile):
                    raise Unavailable(
                        "The machines' new role is not known everywhere yet.", where=place
                    ) from error
                raise
        return [_described(each) for each in made]

    def _prepare(self, launch: Launch, spec: JobSpec, user_data: str) -> Where:
        """Find or make what machines need, at the same time where they need it of each other."""
        job, offer, region = launch.job, launch.offer, _region(launch.offer)
        tags = names.tags(launch, self._identity.caller.arn)
        network = Network(self._account, region)
        subnets = self._subnets.get(region) or network.subnets()
        subnet = subnets[launch.zone or min(subnets)]
        rdma = uses_rdma(spec, offer)
        with ThreadPoolExecutor(4) as pool:
            name = machine_images.wanted(_machine(spec).image, offer)
            image = pool.submit(machine_images.find, self._account, region, name)
            profile = pool.submit(self._identity.profile, job, tags)
            group = pool.submit(network.group, job.id, subnet.vpc, tags, rdma=rdma)
            placement = None
            if is_close(spec, offer):
                placement = pool.submit(network.placement_group, job.id, tags)
            found: Image = image.result()
            return Where(
                image=found.id,
                root_device=found.root_device,
                root_gib=found.root_gib,
                subnet=subnet.id,
                group=group.result(),
                profile=profile.result(),
                placement=placement.result() if placement else None,
                user_data=user_data,
                tags=tags,
            )

    def describe(self, place: Place) -> list[Machine]:
        """Return what EC2 says of a job's machines, those that are gone included."""
        return sorted(
            (_described(each) for each in self._instances(place)), key=lambda each: each.rank
        )

    def delete(self, place: Place) -> bool:
        """End a job's machines, then what they used; True once all of it is gone."""
        region = place.region or ""
        found = self._instances(place)
        left = [each for each in found if each["State"]["Name"] != "terminated"]
        ending = [each["InstanceId"] for each in left if each["State"]["Name"] != "shutting-down"]
        if ending:
            with translated(f"{region}, {', '.join(ending)}"):
                self._ec2(region).terminate_instances(InstanceIds=ending)
        if left:
            return False
        return Network(self._account, region).delete(place.job)

    def _instances(self, place: Place) -> list[dict[str, Any]]:
        pages = self._ec2(place.region or "").get_paginator("describe_instances")
        with translated(f"{place.region}, machines of {place.job}"):
            return [
                instance
                for page in pages.paginate(Filters=names.job_filter(place.job))
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            ]

    def _ec2(self, region: str) -> Any:
        return self._account.client_of("ec2", region)


def run_instances(launch: Launch, spec: JobSpec, where: Where) -> dict[str, Any]:
    """Return the parameters of RunInstances: N machines in one zone, or none."""
    nodes = launch.job.task.nodes
    return {
        **template(launch, spec, where),
        "MinCount": nodes,
        "MaxCount": nodes,
        "ClientToken": token(launch),
    }


def template(launch: Launch, spec: JobSpec, where: Where) -> dict[str, Any]:
    """Return what RunInstances and launch templates have in common."""
    offer = launch.offer
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
    """Tell whether the nodes of a job reach one another by EFA."""
    listing = offers.read().find(offer.instance_type)
    return len(spec.role_list()) > 1 and bool(listing and listing.rdma_interfaces)


def is_close(spec: JobSpec, offer: Offer) -> bool:
    """Tell whether a job's nodes are put close together: where they talk by EFA."""
    return uses_rdma(spec, offer)


def _interfaces(spec: JobSpec, offer: Offer, where: Where) -> list[dict[str, Any]]:
    """Return the one interface of a machine: with more, it could have no public address."""
    made: dict[str, Any] = {
        "DeviceIndex": 0,
        "SubnetId": where.subnet,
        "Groups": [where.group],
        "DeleteOnTermination": True,
    }
    if uses_rdma(spec, offer):
        made |= {"InterfaceType": "efa"}
    return [made]


def _described(instance: Mapping[str, Any]) -> Machine:
    said = instance.get("StateReason", {}).get("Message", "")
    state = STATES.get(instance["State"]["Name"], MachineState.UNKNOWN)
    detail = said if state is MachineState.GONE else ""
    return Machine(instance.get("AmiLaunchIndex", 0), instance["InstanceId"], state, detail)


def _machine(spec: JobSpec) -> Any:
    return spec.machine_groups()[0].machine


def _region(offer: Offer) -> str:
    if not offer.region:
        raise InvalidRequest("An offer of AWS names its region.")
    return offer.region
