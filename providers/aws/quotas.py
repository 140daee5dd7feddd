"""Which quota a machine counts to, how large it is, and how to have it raised.

The families and codes are of docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html,
the form of SageMaker's names of its listing in Service Quotas, as read in November 2026. EC2 counts
vCPUs, SageMaker instances of each type. Which spot quota P6 counts to is not said: the newest's, we
take it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws import ec2, offers
from llmcloud.providers.aws.errors import translated
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.core.provider import Offer
    from llmcloud.providers.aws.credentials import Account

MANAGED, SAGEMAKER = "managed", "sagemaker"
STANDARD = "Standard (A, C, D, H, I, M, R, T, Z)"
ON_DEMAND = {
    STANDARD: "L-1216C47A",
    "G and VT": "L-DB2E81BA",
    "P": "L-417A185B",
    "Trn": "L-2C3B7624",
    "Inf": "L-1945791B",
    "DL": "L-6E869C2A",
    "X": "L-7295265B",
    "F": "L-74FC7D96",
}
SPOT = {
    STANDARD: "L-34B43A08",
    "G and VT": "L-3819A6DF",
    "P4, P3 and P2": "L-7212CCBC",
    "P5": "L-C4BD4855",
    "Trn": "L-6B0D517C",
    "Inf": "L-B5D1601B",
    "DL": "L-85EED4F7",
    "X": "L-E3A00192",
    "F": "L-88CF9481",
}
FAMILIES = {"g": "G and VT", "gr": "G and VT", "vt": "G and VT"}
FAMILIES |= {"p": "P", "trn": "Trn", "inf": "Inf", "dl": "DL", "x": "X", "f": "F"}
SPLIT = {"P": ("P4, P3 and P2", "P5")}  # into several quotas, of spot
OLD_P = {"p2", "p3", "p3dn", "p4d", "p4de"}
LIVE = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]


@dataclass(frozen=True)
class Quota:
    """A limit of an account in a region, of so many of `unit`; one without a code is named only."""

    service: str
    name: str
    unit: str
    code: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.code})" if self.code else self.name

    def raising(self, region: str, wanted: float) -> str:
        """Return how to ask for more, to end a sentence that begins with Raise."""
        at = console(region, self.service)
        if not self.code:
            return f"{self.name} to {wanted:g} at {at}"
        command = f"aws service-quotas request-service-quota-increase --region {region}"
        command += f" --service-code {self.service} --quota-code {self.code}"
        return f"{self.name}: {command} --desired-value {wanted:g}, or at {at}/{self.code}"


def console(region: str, service: str) -> str:
    """Return where the quotas of a service are looked at and raised."""
    return f"https://{region}.console.aws.amazon.com/servicequotas/home/services/{service}/quotas"


def quota_of(instance_type: str, *, spot: bool) -> Quota:
    """Return the quota that a machine of EC2's counts to."""
    generation = instance_type.partition(".")[0]
    letters = re.match("[a-z]*", generation)
    family = FAMILIES.get(letters[0] if letters else "", STANDARD)
    if not spot:
        return _on_demand(family)
    old, new = SPLIT.get(family, (family, family))
    return _spot(old if generation in OLD_P else new)


def of_family(family: str) -> list[Quota]:
    """Return the quotas of a family of machines: the one on demand, and those of spot."""
    return [_on_demand(family), *map(_spot, SPLIT.get(family, [family]))]


def for_offer(offer: Offer) -> Quota:
    """Return the quota that an offer's machines count to."""
    if offer.service != MANAGED:
        return quota_of(offer.instance_type, spot=offer.spot)
    kind = "spot training" if offer.spot else "training"
    name = f"ml.{offer.instance_type.removeprefix('ml.')} for {kind} job usage"
    return Quota(SAGEMAKER, name, "instances")


def wanted_of(offer: Offer, nodes: int) -> int:
    """Return how much of its quota an offer takes."""
    return nodes if offer.service == MANAGED else nodes * offer.vcpus


def to_raise(offer: Offer, nodes: int) -> str:
    """Return what to raise so that an offer's machines may be had, for `translated`."""
    return for_offer(offer).raising(offer.region or "REGION", wanted_of(offer, nodes))


def look_up(account: Account, region: str, quota: Quota) -> tuple[Quota, float]:
    """Return a quota with its code, and how large it is.

    That is what the account was given, else the default of all accounts.
    """
    client = account.client_of("service-quotas", region)
    with translated(f"{region}, quota {quota}"):
        if not quota.code:
            return _by_name(client, quota)
        asked = {"ServiceCode": quota.service, "QuotaCode": quota.code}
        try:
            with translated(f"{region}, quota {quota}"):
                return quota, float(client.get_service_quota(**asked)["Quota"]["Value"])
        except NotFound:
            found = client.get_aws_default_service_quota(**asked)["Quota"]
            return quota, float(found["Value"])


def used(account: Account, region: str, quota: Quota) -> int:
    """Return how many vCPUs of an EC2 quota are in use."""
    known = {each.instance_type: each.vcpus for each in offers.read().listings}
    return sum(
        _vcpus(each, known)
        for each in ec2.instances(account, region, LIVE)
        if quota == quota_of(each["InstanceType"], spot=_is_spot(each))
    )


def _on_demand(family: str) -> Quota:
    return Quota("ec2", f"Running On-Demand {family} instances", "vCPUs", ON_DEMAND[family])


def _spot(family: str) -> Quota:
    return Quota("ec2", f"All {family} Spot Instance Requests", "vCPUs", SPOT[family])


def _by_name(client: Any, quota: Quota) -> tuple[Quota, float]:
    for page in client.get_paginator("list_service_quotas").paginate(ServiceCode=quota.service):
        for each in page["Quotas"]:
            if each.get("QuotaName") == quota.name:
                return replace(quota, code=each["QuotaCode"]), float(each["Value"])
    raise NotFound(
        f"Service Quotas has no {quota.name}.",
        fix="Name another region with region:, or another type.",
    )


def _vcpus(instance: Mapping[str, Any], known: Mapping[str, int]) -> int:
    said = instance.get("CpuOptions", {})
    counted = said.get("CoreCount", 0) * said.get("ThreadsPerCore", 1)
    return int(counted or known.get(instance["InstanceType"], 0))


def _is_spot(instance: Mapping[str, Any]) -> bool:
    return bool(instance.get("InstanceLifecycle") == "spot")
