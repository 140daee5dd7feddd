"""Service Quotas for EC2's vCPUs and SageMaker's training jobs, and how many vCPUs are in use.

Codes and names as Service Quotas lists them (docs.aws.amazon.com/AWSEC2/latest/UserGuide,
"Amazon EC2 service quotas", and published listings of 2025 and 2026); the values are ours, but for
the default of the standard quota.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any

from moto.ec2.models.instance_types import INSTANCE_TYPES
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import Refusal, Service, service_model

if TYPE_CHECKING:
    from tests.rig.aws.call import Call
    from tests.rig.aws.world import World

SERVICES = {
    "ec2": "Amazon Elastic Compute Cloud (Amazon EC2)",
    "sagemaker": "Amazon SageMaker",
}
STANDARD = "Standard (A, C, D, H, I, M, R, T, Z)"
ON_DEMAND = {
    STANDARD: "L-1216C47A",
    "F": "L-74FC7D96",
    "G and VT": "L-DB2E81BA",
    "P": "L-417A185B",
    "X": "L-7295265B",
    "Inf": "L-1945791B",
    "Trn": "L-2C3B7624",
    "DL": "L-6E869C2A",
}
SPOT = {
    STANDARD: "L-34B43A08",
    "F": "L-88CF9481",
    "G and VT": "L-3819A6DF",
    "P4, P3 and P2": "L-7212CCBC",
    "P5": "L-C4BD4855",
    "X": "L-E3A00192",
    "Inf": "L-B5D1601B",
    "Trn": "L-6B0D517C",
    "DL": "L-85EED4F7",
}
BY_LETTERS = {"g": "G and VT", "gr": "G and VT", "vt": "G and VT", "p": "P", "trn": "Trn"}
BY_LETTERS |= {"f": "F", "x": "X", "inf": "Inf", "dl": "DL"}
NAMES = {code: f"Running On-Demand {family} instances" for family, code in ON_DEMAND.items()}
NAMES |= {code: f"All {family} Spot Instance Requests" for family, code in SPOT.items()}
DEFAULTS = dict.fromkeys(NAMES, 0.0) | {"L-1216C47A": 5.0, "L-34B43A08": 5.0}
APPLIED = 2000.0  # what this account has, until a test says otherwise
TRAINING = tuple(  # SageMaker's, whose codes are not known to us: one a type, and one for spot
    f"{each} for {kind} job usage"
    for each in service_model("sagemaker").shape_for("TrainingInstanceType").enum
    for kind in ("training", "spot training")
)
TRAINING_APPLIED = 4.0


def code_of(instance_type: str, *, spot: bool) -> str:
    """Return the quota that an instance type counts to."""
    letters = re.match("[a-z]+", instance_type)
    family = BY_LETTERS.get(letters[0] if letters else "", STANDARD)
    if not spot:
        return ON_DEMAND[family]
    if family == "P":
        family = "P4, P3 and P2" if instance_type[1] in "234" else "P5"
    return SPOT[family]


def value_of(world: World, region: str, code: str) -> float:
    return world.quotas.get((region, code), APPLIED)


def vcpus(instance_type: str) -> int:
    return int(INSTANCE_TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"])


def service(world: World) -> Service:
    """Return Service Quotas: what there is of EC2's vCPU quotas, and nothing else."""

    def get(call: Call) -> Any:
        code = _known(call)
        return {"Quota": _quota(call.region, code, value_of(world, call.region, code))}

    def get_default(call: Call) -> Any:
        code = _known(call)
        return {"Quota": _quota(call.region, code, DEFAULTS[code])}

    def list_all(call: Call) -> Any:
        if call.params["ServiceCode"] == "sagemaker":
            names = {f"L-{zlib.crc32(each.encode()):08X}": each for each in TRAINING}
            return _paged(
                call,
                [
                    _quota(call.region, code, world.quotas.get((call.region, name)), name)
                    for code, name in names.items()
                ],
            )
        values = {code: value_of(world, call.region, code) for code in NAMES}
        return _page(call, values)

    def list_defaults(call: Call) -> Any:
        return _page(call, DEFAULTS)

    operations = {
        "GetServiceQuota": get,
        "GetAWSDefaultServiceQuota": get_default,
        "ListServiceQuotas": list_all,
        "ListAWSDefaultServiceQuotas": list_defaults,
    }
    return Service("servicequotas", "servicequotas", operations)


def _known(call: Call) -> str:
    code = str(call.params["QuotaCode"])
    if call.params["ServiceCode"] != "ec2" or code not in NAMES:
        raise Refusal(
            "NoSuchResourceException",
            "The request failed because the specified service quota does not exist.",
        )
    return code


def _page(call: Call, values: dict[str, float]) -> Any:
    if call.params["ServiceCode"] != "ec2":
        raise Refusal("NoSuchResourceException", "The specified service does not exist.")
    return _paged(call, [_quota(call.region, code, value) for code, value in values.items()])


def _paged(call: Call, found: list[dict[str, Any]]) -> Any:
    start, size = int(call.params.get("NextToken", 0)), int(call.params.get("MaxResults", 100))
    page: dict[str, Any] = {"Quotas": found[start : start + size]}
    if start + size < len(found):
        page["NextToken"] = str(start + size)
    return page


def _quota(region: str, code: str, value: float | None, name: str = "") -> dict[str, Any]:
    service = "sagemaker" if name else "ec2"
    return {
        "ServiceCode": service,
        "ServiceName": SERVICES[service],
        "QuotaArn": f"arn:aws:servicequotas:{region}:{ACCOUNT}:{service}/{code}",
        "QuotaCode": code,
        "QuotaName": name or NAMES[code],
        "Value": TRAINING_APPLIED if value is None else value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
