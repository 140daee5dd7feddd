"""The public images, and the SSM parameters by which they are found in each region.

The names are AWS's and Canonical's own, as of November 2026:
docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html with its release notes,
awsdocs-neuron.readthedocs-hosted.com (DLAMI user guide, "SSM Parameter Prefix"), and
documentation.ubuntu.com/aws (Find Ubuntu images with the SSM Parameter Store).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ssm.models import Parameter, ssm_backends
from tests.rig.aws.account import ACCOUNT

if TYPE_CHECKING:
    from moto.ec2.models import EC2Backend

DLAMI = "/aws/service/deeplearning/ami"
NEURON = "/aws/service/neuron/dlami"
UBUNTU = "/aws/service/canonical/ubuntu/server"
AMAZON_OWNER = "898082745236"  # of the deep-learning AMIs
CANONICAL_OWNER = "099720109477"
FRAMEWORK_TITLES = {
    "x86_64": "Deep Learning OSS Nvidia Driver AMI GPU",
    "arm64": "Deep Learning ARM64 AMI OSS Nvidia Driver GPU",
}
BASE_TITLES = {"x86_64": "Base OSS Nvidia Driver GPU", "arm64": "ARM64 Base OSS Nvidia Driver GPU"}


@dataclass(frozen=True)
class Image:
    """A public image: the parameter that names it, its name, and what it runs on."""

    parameter: str
    name: str
    architecture: str
    owner: str = AMAZON_OWNER

    def id(self, region: str) -> str:
        digest = hashlib.sha256(f"{region} {self.parameter}".encode()).hexdigest()
        return f"ami-0{digest[:16]}"


def _images() -> list[Image]:
    found = []
    for system in ("22.04", "24.04"):
        for machine, title in BASE_TITLES.items():
            path = f"{DLAMI}/{machine}/base-oss-nvidia-driver-gpu-ubuntu-{system}/latest/ami-id"
            name = f"Deep Learning {title} AMI (Ubuntu {system}) 20261101"
            found.append(Image(path, name, machine))
        for machine, word in (("x86_64", "amd64"), ("arm64", "arm64")):
            disks = ("ebs-gp2",) if system == "22.04" else ("ebs-gp3",)
            code = {"22.04": "jammy", "24.04": "noble"}[system]
            for disk in disks:
                path = f"{UBUNTU}/{system}/stable/current/{word}/hvm/{disk}/ami-id"
                folder = "hvm-ssd" if disk == "ebs-gp2" else "hvm-ssd-gp3"
                name = f"ubuntu/images/{folder}/ubuntu-{code}-{system}-{word}-server-20261101"
                found.append(Image(path, name, machine, CANONICAL_OWNER))
        path = f"{NEURON}/base/ubuntu-{system}/latest/image_id"
        name = f"Deep Learning Base Neuron AMI (Ubuntu {system}) 20261101"
        found.append(Image(path, name, "x86_64"))
    for version, system in (("2.7", "22.04"), ("2.9", "24.04"), ("2.12", "24.04")):
        for machine, title in FRAMEWORK_TITLES.items():
            kind = f"oss-nvidia-driver-gpu-pytorch-{version}-ubuntu-{system}"
            name = f"{title} PyTorch {version} (Ubuntu {system}) 20261101"
            found.append(Image(f"{DLAMI}/{machine}/{kind}/latest/ami-id", name, machine))
    path = f"{NEURON}/pytorch-2.9/ubuntu-24.04/latest/image_id"
    found.append(Image(path, "Deep Learning AMI Neuron PyTorch 2.9 (Ubuntu 24.04)", "x86_64"))
    return found


IMAGES = _images()


def publish(region: str) -> None:
    """Let moto know the images of a region, and their parameters; again is no harm."""
    backend = ec2_backends[ACCOUNT][region]
    parameters = ssm_backends[ACCOUNT][region]._parameters
    if IMAGES[0].id(region) in backend.amis:
        return
    for image in IMAGES:
        backend.amis[image.id(region)] = _ami(backend, image, region)
        parameters[image.parameter].append(_parameter(image, region))


def _ami(backend: EC2Backend, image: Image, region: str) -> Ami:
    return Ami(
        backend,
        image.id(region),
        name=image.name,
        description=image.name,
        owner_id=image.owner,
        owner_alias="amazon",
        public=True,
        virtualization_type="hvm",
        architecture=image.architecture,
        hypervisor="xen",
        root_device_type="ebs",
        root_device_name="/dev/sda1",
        region_name=f"{region}a",
    )


def _parameter(image: Image, region: str) -> Parameter:
    return Parameter(
        account_id=ACCOUNT,
        name=image.parameter,
        value=image.id(region),
        parameter_type="String",
        description=image.name,
        allowed_pattern=None,
        keyid=None,
        last_modified_date=0,
        version=1,
        data_type="aws:ec2:image",
    )
