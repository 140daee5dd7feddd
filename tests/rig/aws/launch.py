"""Instances made as RunInstances and Auto Scaling groups ask for them, with all that belongs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends
from moto.ec2.utils import convert_tag_spec, parse_user_data, random_spot_request_id
from tests.rig.aws import checks, prices, quotas
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import Refusal
from tests.rig.aws.spot import SpotRequest, spot_options
from tests.rig.aws.world import Wanted

if TYPE_CHECKING:
    from moto.ec2.models import EC2Backend
    from moto.ec2.models.instances import Instance, Reservation
    from tests.rig.aws.machines import Machines
    from tests.rig.aws.placement import PlacementGroups
    from tests.rig.aws.world import World

ROOT_DISK = {"DeviceName": checks.ROOT_DEVICE, "Ebs": {"VolumeType": "gp3"}}


@dataclass(frozen=True)
class Order:
    """A launch as it is asked for: RunInstances' parameters, over those of a launch template.

    `spot_requests` is what the region keeps of them; `tags` are put on instances beside their own.
    """

    region: str
    params: dict[str, Any]
    count: int
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def instance_type(self) -> str:
        return str(self.params.get("InstanceType", "m1.small"))

    @property
    def is_spot(self) -> bool:
        return bool(spot_options(self.params))


class Launcher:
    """Launches what is permitted, in a zone that has it."""

    def __init__(self, world: World, machines: Machines, groups: PlacementGroups) -> None:
        self._world = world
        self._machines = machines
        self.placement = groups
        self._profile_refusals: dict[str, int] = {}
        self.spot_requests: dict[str, SpotRequest] = {}
        machines.on_gone.append(self._end_request)

    def launch(self, order: Order) -> Reservation:
        """Make an order's instances; Refusal where EC2 would refuse."""
        self.check(order)
        params = {**order.params, **self._place(order)}
        backend = ec2_backends[ACCOUNT][order.region]
        reservation = _made(backend, order, params)
        for instance in reservation.instances:
            self._complete(backend, instance, order, params)
            self._machines.begin(instance)
        return reservation

    def try_out(self, order: Order) -> None:
        """Raise what EC2 would refuse an order for, and make nothing."""
        self.check(order)
        self._place(order)

    def check(self, order: Order) -> None:
        """Raise what EC2 says of an order before it looks for capacity."""
        checks.check(order.region, order.params)
        self.placement.check(order.region, order.params)
        self._check_profile(order)
        if order.is_spot:
            least = prices.spot(self._world, order.region, order.instance_type)
            price = spot_options(order.params).get("MaxPrice")
            if price and float(price) < least:
                message = f"Your Spot request price of {price} is lower than the minimum required "
                raise Refusal("SpotMaxPriceTooLow", f"{message}fulfillment price of {least}.")

    def _check_profile(self, order: Order) -> None:
        name = checks.profile_name(order.params)
        if name is None:
            return
        left = self._profile_refusals.setdefault(name, self._world.knobs.profile_refusals)
        if left > 0:
            self._profile_refusals[name] = left - 1
            raise checks.unknown_profile(name)

    def _place(self, order: Order) -> dict[str, Any]:
        """Return the subnet to launch in: the one that is named, or the first that has capacity."""
        refusal: Refusal | None = None
        for subnet_id, zone in checks.places(order.region, order.params):
            wanted = Wanted(order.region, zone, order.instance_type, order.is_spot, order.count)
            try:
                checks.check_offered(wanted)
                self._world.refuse_if_short(wanted)
                self._check_quota(wanted)
            except Refusal as each:
                refusal = each
            else:
                return {"SubnetId": subnet_id} if subnet_id else {}
        assert refusal
        raise refusal

    def _check_quota(self, wanted: Wanted) -> None:
        code = quotas.code_of(wanted.instance_type, spot=wanted.spot)
        used = sum(
            quotas.vcpus(each.instance_type)
            for each in self._machines.all()
            if each.region_name == wanted.region
            and each.state in {"pending", "running"}
            and quotas.code_of(each.instance_type, spot=each.lifecycle == "spot") == code
        )
        limit = quotas.value_of(self._world, wanted.region, code)
        if used + quotas.vcpus(wanted.instance_type) * wanted.count <= limit:
            return
        if wanted.spot:
            raise Refusal("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        raise Refusal(
            "VcpuLimitExceeded",
            "You have requested more vCPU capacity than your current vCPU limit of "
            f"{limit:.0f} allows for the instance bucket that the specified instance type belongs "
            "to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an "
            "adjustment to this limit.",
        )

    def _end_request(self, instance: Instance, code: str) -> None:
        for request in self.spot_requests.values():
            if request.instance is instance:
                request.end(code)

    def _complete(
        self, backend: EC2Backend, instance: Instance, order: Order, params: dict[str, Any]
    ) -> None:
        """Add what moto leaves out: the profile of each, tags of interfaces, the spot request."""
        tags = convert_tag_spec(params.get("TagSpecifications", []))
        instance.add_tags(order.tags)
        if profile := params.get("IamInstanceProfile"):
            backend.associate_iam_instance_profile(
                instance.id, profile.get("Name"), profile.get("Arn")
            )
        specified = dict(enumerate(params.get("NetworkInterfaces", [])))
        for index, nic in instance.nics.items():
            said = specified.get(index, {})
            nic.delete_on_termination = said.get("DeleteOnTermination", True)
            nic.add_tags(tags.get("network-interface", {}))
        instance.placement.group_name = params.get("Placement", {}).get("GroupName", "")
        if order.is_spot:
            request = SpotRequest(random_spot_request_id(), instance, spot_options(params))
            request.tags = dict(tags.get("spot-instances-request", {}))
            self.spot_requests[request.id] = request
            instance.lifecycle = "spot"
            instance.spot_instance_request_id = request.id


def _made(backend: EC2Backend, order: Order, params: dict[str, Any]) -> Reservation:
    nics = params.get("NetworkInterfaces", [])
    subnet = params.get("SubnetId")
    if nics and subnet:
        nics = [{"SubnetId": subnet, **nic} for nic in nics]
        subnet = None
    nics = [{**nic, "DeviceIndex": index} for index, nic in enumerate(nics)]  # moto has one card
    made: Reservation = backend.run_instances(
        params["ImageId"],
        order.count,
        parse_user_data(_text(params.get("UserData"))),
        params.get("SecurityGroups", []),
        instance_type=order.instance_type,
        is_instance_type_default=False,
        placement=params.get("Placement", {}).get("AvailabilityZone"),
        region_name=order.region,
        subnet_id=subnet,
        key_name=params.get("KeyName"),
        security_group_ids=list(params.get("SecurityGroupIds", [])),
        nics=nics,
        private_ip=params.get("PrivateIpAddress"),
        tags=convert_tag_spec(params.get("TagSpecifications", [])),
        ebs_optimized=params.get("EbsOptimized", False),
        instance_initiated_shutdown_behavior=params.get("InstanceInitiatedShutdownBehavior"),
        metadata_options=params.get("MetadataOptions", {}),
        monitoring_state="enabled" if params.get("Monitoring", {}).get("Enabled") else "disabled",
        client_token=params.get("ClientToken", ""),
        block_device_mappings=_disks(params),
    )
    return made


def _disks(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the disks: the root's always, and gone with the instance unless said otherwise."""
    asked = {each["DeviceName"]: each for each in params.get("BlockDeviceMappings", [])}
    disks = []
    for name, each in {ROOT_DISK["DeviceName"]: ROOT_DISK, **asked}.items():
        ebs: dict[str, Any] = {
            "DeleteOnTermination": True,
            "VolumeSize": checks.ROOT_GIB,
            **each.get("Ebs", {}),
        }
        disks.append({"DeviceName": name, "NoDevice": each.get("NoDevice"), "Ebs": ebs})
    return disks


def _text(user_data: object) -> str | None:
    """Return user data as it came, in base64."""
    return None if user_data is None else str(user_data)
