"""What EC2 checks of a launch before it looks for capacity, in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.iam.models import iam_backends
from tests.rig.aws import images
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.aws.world import Wanted

USER_DATA_BYTES = 16 << 10  # before it is encoded
TOKEN_CHARACTERS = 64
ROOT_DEVICE, ROOT_GIB = "/dev/sda1", 15  # of every image, as moto describes them


def check(region: str, params: dict[str, Any]) -> None:
    """Raise Refusal for what is not there, or does not fit together."""
    images.publish(region)
    _check_user_data(params)
    _check_image(region, params)
    _check_disk(params)
    _check_network(region, params)
    _check_interfaces(params)
    _check_profile(params)


def places(region: str, params: dict[str, Any]) -> Iterator[tuple[str | None, str]]:
    """Yield the subnets to try, with their zones."""
    backend = ec2_backends[ACCOUNT][region]
    named = params.get("SubnetId") or _of_interfaces(params)
    zone = params.get("Placement", {}).get("AvailabilityZone")
    if named:
        yield (params.get("SubnetId"), backend.get_subnet(named).availability_zone)
        return
    defaults = backend.get_default_subnets()
    if not defaults:
        raise Refusal(
            "MissingInput" if zone else "VPCIdNotSpecified",
            "No subnets found for the default VPC. Please specify a subnet.",
        )
    if zone and zone not in defaults:
        message = f"Invalid availability zone: [{zone}]"
        raise Refusal("InvalidParameterValue", message)
    for name in [zone] if zone else sorted(defaults):
        yield (defaults[name].id, name)


def check_offered(wanted: Wanted) -> None:
    """Raise Refusal when a zone has no such machines at all."""
    offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(wanted.region, [])
    if not any(
        each["InstanceType"] == wanted.instance_type and each["Location"] == wanted.zone
        for each in offered
    ):
        raise Refusal(
            "Unsupported",
            f"Your requested instance type ({wanted.instance_type}) is not supported in your "
            f"requested Availability Zone ({wanted.zone}).",
        )


def profile_name(params: dict[str, Any]) -> str | None:
    """Return the name of the instance profile that is asked for."""
    asked = params.get("IamInstanceProfile", {})
    name = asked.get("Name") or asked.get("Arn", "").rpartition("/")[2]
    return name or None


def unknown_profile(name: str) -> Refusal:
    return Refusal(
        "InvalidParameterValue",
        f"Value ({name}) for parameter iamInstanceProfile.name is invalid. "
        "Invalid IAM Instance Profile name",
    )


def _check_user_data(params: dict[str, Any]) -> None:
    data = params.get("UserData")
    if data is not None and len(str(data)) * 3 // 4 > USER_DATA_BYTES:
        raise Refusal("InvalidParameterValue", "User data is limited to 16384 bytes")
    if len(params.get("ClientToken", "")) > TOKEN_CHARACTERS:
        raise Refusal(
            "InvalidParameterValue",
            "Length of the idempotency token must be less than or equal to 64 characters.",
        )


def _check_image(region: str, params: dict[str, Any]) -> None:
    image_id = params.get("ImageId")
    if not image_id:
        raise Refusal("MissingParameter", "The request must contain the parameter ImageId")
    if not str(image_id).startswith("ami-"):
        raise Refusal("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    image = ec2_backends[ACCOUNT][region].amis.get(image_id)
    if image is None:
        raise Refusal("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    name = params.get("InstanceType", "m1.small")
    if name not in INSTANCE_TYPES:
        raise Refusal("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")
    machines = INSTANCE_TYPES[name]["ProcessorInfo"]["SupportedArchitectures"]
    if image.architecture not in machines:
        raise Refusal(
            "InvalidParameterValue",
            f"The architecture '{','.join(machines)}' of the specified instance type does not "
            f"match the architecture '{image.architecture}' of the specified AMI.",
        )


def _check_disk(params: dict[str, Any]) -> None:
    for each in params.get("BlockDeviceMappings", []):
        size = each.get("Ebs", {}).get("VolumeSize", ROOT_GIB)
        if each["DeviceName"] == ROOT_DEVICE and size < ROOT_GIB:
            raise Refusal(
                "InvalidBlockDeviceMapping",
                f"Volume of size {size}GB is smaller than snapshot 'snap-1234567890abcdef0', "
                f"expect size >= {ROOT_GIB}GB",
            )


def _check_network(region: str, params: dict[str, Any]) -> None:
    backend = ec2_backends[ACCOUNT][region]
    nics = params.get("NetworkInterfaces", [])
    if nics and (params.get("SubnetId") or params.get("SecurityGroupIds")):
        raise Refusal(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID may not be specified on the same "
            "request",
        )
    subnet_id = params.get("SubnetId") or _of_interfaces(params)
    known = {subnet_id for zone in backend.subnets.values() for subnet_id in zone}
    if subnet_id and subnet_id not in known:
        message = f"The subnet ID '{subnet_id}' does not exist"
        raise Refusal("InvalidSubnetID.NotFound", message)
    groups = [*params.get("SecurityGroupIds", [])]
    for nic in nics:
        groups += nic.get("Groups", [])
    for group_id in groups:
        group = backend.get_security_group_from_id(group_id)
        if group is None:
            message = f"The security group '{group_id}' does not exist"
            raise Refusal("InvalidGroup.NotFound", message)
        if subnet_id and group.vpc_id != backend.get_subnet(subnet_id).vpc_id:
            message = (
                f"Security group {group_id} and subnet {subnet_id} belong to different networks."
            )
            raise Refusal("InvalidParameter", message)


def _check_interfaces(params: dict[str, Any]) -> None:
    """See that each is on a card that there is and can have it; messages but one are ours."""
    nics = params.get("NetworkInterfaces", [])
    if not nics:
        return
    network = INSTANCE_TYPES[params["InstanceType"]]["NetworkInfo"]
    cards, most = network["MaximumNetworkCards"], _efas(network)
    places = [(nic.get("NetworkCardIndex", 0), nic["DeviceIndex"]) for nic in nics]
    efas = [
        (card, device, nic["InterfaceType"])
        for (card, device), nic in zip(places, nics, strict=True)
        if nic.get("InterfaceType", "interface") != "interface"
    ]
    if len(nics) > 1 and any("AssociatePublicIpAddress" in nic for nic in nics):
        raise Refusal(
            "InvalidParameterCombination",
            "The associatePublicIPAddress parameter cannot be specified when launching with "
            "multiple network interfaces.",
        )
    for is_wrong, message in (
        (len(set(places)) < len(places), "Two network interfaces have one place."),
        ((0, 0) not in places, "There is no primary network interface."),
        (any(card >= cards for card, _ in places), f"There are {cards} network cards."),
        ((0, 0, "efa-only") in efas, "The primary network interface can't be EFA-only."),
        (len({card for card, _, _ in efas}) < len(efas), "A network card has one EFA."),
        (len(efas) > most, f"There are {most} EFAs."),
        (most < cards and any(card == 0 for card, _, _ in efas), "Card 0 has no EFA."),
    ):
        if is_wrong:
            raise Refusal("InvalidParameterValue", message)


def _efas(network: dict[str, Any]) -> int:
    return int(network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0))


def _check_profile(params: dict[str, Any]) -> None:
    name = profile_name(params)
    if name is None:
        return
    profiles = iam_backends[ACCOUNT]["aws"].instance_profiles.values()
    if not any(each.name == name and each.roles for each in profiles):
        raise unknown_profile(name)


def _of_interfaces(params: dict[str, Any]) -> str | None:
    nics = params.get("NetworkInterfaces", [])
    return next((nic["SubnetId"] for nic in nics if "SubnetId" in nic), None)
