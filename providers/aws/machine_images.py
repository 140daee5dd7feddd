"""Which machine image a job boots from: the cloud's own, by public parameters of SSM.

The names are of docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html, of Neuron's
documentation (awsdocs-neuron.readthedocs-hosted.com) and of documentation.ubuntu.com/aws, as read
in November 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws.errors import translated
from llmcloud.runtime.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from llmcloud.core.provider import Offer
    from llmcloud.providers.aws.credentials import Account

DLAMI = "/aws/service/deeplearning/ami"
UBUNTU_WORDS = {"x86_64": "amd64", "arm64": "arm64"}
NEURON = "/aws/service/neuron/dlami/base/ubuntu-24.04/latest/image_id"
PYTORCH = "2.12"  # each gets patches for a year only (dlami-support-policy-table.html)
RESOLVE = "resolve:ssm:"
NEURON_ACCELERATORS = ("Trainium", "Inferentia")

FAMILIES = {
    "base": f"{DLAMI}/{{machine}}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id",
    "pytorch": f"{DLAMI}/{{machine}}/oss-nvidia-driver-gpu-pytorch-{PYTORCH}-ubuntu-24.04"
    "/latest/ami-id",
    "ubuntu": "/aws/service/canonical/ubuntu/server/24.04/stable/current/{word}/hvm/ebs-gp3/ami-id",
    "neuron": NEURON,
}


@dataclass(frozen=True)
class Image:
    """An image of machines, and the disk that it boots from, in GiB at the least."""

    id: str
    root_device: str
    root_gib: int


def refusal(image: str) -> str | None:
    """Return why an image can't be a machine's; None if it may be one."""
    if image in FAMILIES or image.startswith(("ami-", "/")):
        return None
    return (
        f"{image} is no image of machines: give one of {', '.join(FAMILIES)}, an ami-…, or the "
        "name of an SSM parameter that holds one"
    )


def wanted(image: str | None, offer: Offer) -> str:
    """Return the image that a job asks for, or the one that suits its machines: id or parameter."""
    if image and image not in FAMILIES:
        return image
    family = image or _family_of(offer)
    machine = offer.architecture
    return FAMILIES[family].format(machine=machine, word=UBUNTU_WORDS[machine])


def in_plan(name: str) -> str:
    """Return an image as RunInstances takes it, found or not."""
    return name if name.startswith("ami-") else RESOLVE + name


def find(account: Account, region: str, name: str) -> Image:
    """Look an image up; InvalidRequest when there is none of that name."""
    image_id = name if name.startswith("ami-") else _parameter(account, region, name)
    ec2 = account.client_of("ec2", region)
    try:
        with translated(f"{region}, image {image_id}"):
            found: list[dict[str, Any]] = ec2.describe_images(ImageIds=[image_id])["Images"]
    except (NotFound, InvalidRequest) as failure:
        raise _missing(image_id, region) from failure
    if not found:
        raise _missing(image_id, region)
    root = found[0].get("RootDeviceName") or "/dev/sda1"
    disks = [each for each in found[0]["BlockDeviceMappings"] if each.get("DeviceName") == root]
    size = max((each.get("Ebs", {}).get("VolumeSize", 0) for each in disks), default=0)
    return Image(image_id, root, size)


def _parameter(account: Account, region: str, name: str) -> str:
    try:
        with translated(f"{region}, parameter {name}"):
            found = account.client_of("ssm", region).get_parameter(Name=name)
            return str(found["Parameter"]["Value"])
    except NotFound as failure:
        raise _missing(name, region) from failure


def _family_of(offer: Offer) -> str:
    if not offer.accelerators:
        return "ubuntu"
    is_neuron = (offer.accelerator or "").startswith(NEURON_ACCELERATORS)
    return "neuron" if is_neuron else "base"


def _missing(name: str, region: str) -> InvalidRequest:
    return InvalidRequest(
        f"{region} has no image {name}.",
        where="resources.image",
        fix="Name one of the region's with `image: ami-…`, or leave it out.",
    )
