"""Which container a training job runs in: AWS's deep-learning containers, or the user's own.

Their tags are those of docs/pytorch/index.md and (TensorFlow, Neuron) of
docs/reference/available_images.md of github.com/aws/deep-learning-containers, as read in November
2026.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmcloud.core.provider import Offer

CATALOG = Path(__file__).parent / "catalog"
GPU, CPU, NEURON = "gpu", "cpu", "neuron"
IMAGES = {
    ("pytorch", GPU): "pytorch:2.14-cu133-amzn2023-sagemaker",
    ("pytorch", CPU): "pytorch:2.14-cpu-amzn2023-sagemaker",
    ("pytorch", NEURON): "pytorch-training-neuronx:2.8.0-neuronx-py311-sdk2.26.1-ubuntu22.04",
    ("tensorflow", GPU): "tensorflow-training:2.19.0-gpu-py312-cu125-ubuntu22.04-sagemaker",
}
# Others are fetched only through a network of the account's own, which is not built.
REGISTRY = re.compile(
    r"(\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?|public\.ecr\.aws)/\w", re.ASCII
)
FAMILIES = ("pytorch", "tensorflow")
NEURON_ACCELERATORS = ("Trainium", "Inferentia")


def refusal(image: str) -> str:
    """Return why an image can't be a training job's; nothing if it may be one."""
    if image in FAMILIES or _is_url(image):
        return ""
    return (
        f"{image} is no container image of ECR: give one of {', '.join(FAMILIES)}, or one like "
        "ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG or public.ecr.aws/NAME:TAG"
    )


def lacking(image: str | None, offer: Offer) -> str:
    """Return why there is no image for the machines of an offer; nothing if there is one."""
    if image and _is_url(image):
        return ""
    kind = kind_of(offer)
    if (image or "pytorch", kind) not in IMAGES:
        return f"AWS has no {image} container for {kind} machines"
    if offer.region not in accounts():
        return f"AWS has no deep-learning containers in {offer.region}"
    return ""


def url(image: str | None, offer: Offer) -> str:
    """Return the image that a job asks for, or the one that suits its machines."""
    if image and _is_url(image):
        return image
    region = offer.region or ""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    name = IMAGES[image or "pytorch", kind_of(offer)]
    return f"{accounts()[region]}.dkr.ecr.{region}.{domain}/{name}"


def kind_of(offer: Offer) -> str:
    """Return what kind of container an offer's machines take."""
    if not offer.accelerators:
        return CPU
    return NEURON if (offer.accelerator or "").startswith(NEURON_ACCELERATORS) else GPU


@functools.cache
def accounts() -> dict[str, str]:
    """Return whose registry has the containers, by region."""
    lines = (CATALOG / "containers.csv").read_text().splitlines()
    _, *rows = (line for line in lines if not line.startswith("#"))
    return dict(row.split(",") for row in rows)


@functools.cache
def types() -> frozenset[str]:
    """Return the types of machines that training jobs run on, without their `ml.`."""
    lines = (CATALOG / "training.txt").read_text().splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def _is_url(image: str) -> bool:
    """Tell whether an image names its registry, of those that SageMaker fetches from."""
    return bool(REGISTRY.match(image))
