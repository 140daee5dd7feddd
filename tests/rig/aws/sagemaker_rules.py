"""What SageMaker refuses beyond its model: the rules between the fields, roles, limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.rig.aws.call import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DAYS_28_S = 28 * 24 * 3600
PRINCIPAL = "sagemaker.amazonaws.com"
ECR = r"(\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?|public\.ecr\.aws)"
REPOSITORY = r"/[a-z0-9]+([._/-]+[a-z0-9]+)*(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})?"
IMAGE = re.compile(ECR + REPOSITORY, re.ASCII)


def check(request: dict[str, Any], roles: Callable[[str], Mapping[str, Any] | None]) -> None:
    """Raise a ValidationException for a request that the model allows and the service does not.

    `roles` returns a role's trust policy by its ARN, None when there is no such role.
    """
    for rule in (_algorithm, _machines, _times, _channels):
        for problem in rule(request):
            raise Refusal("ValidationException", problem)
    _check_role(request["RoleArn"], roles(request["RoleArn"]))


def instances(request: dict[str, Any]) -> dict[str, int]:
    """Return how many instances of each type a job wants."""
    found: dict[str, int] = {}
    for group in groups(request):
        kind = group["InstanceType"]
        found[kind] = found.get(kind, 0) + group["InstanceCount"]
    return found


def groups(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the instance groups; a cluster of one kind is one, called as the service calls it."""
    wanted = request["ResourceConfig"]
    if wanted.get("InstanceGroups"):
        return list(wanted["InstanceGroups"])
    return [
        {
            "InstanceGroupName": "homogeneousCluster",
            "InstanceType": wanted["InstanceType"],
            "InstanceCount": wanted["InstanceCount"],
        }
    ]


DISK = "Size of EBS volume for a training job"


def check_limits(
    request: dict[str, Any], used: Mapping[str, int], limits: Mapping[str, int]
) -> None:
    """Raise ResourceLimitExceeded for more instances than the account may have."""
    size = request["ResourceConfig"]["VolumeSizeInGB"]
    if size > (limit := limits.get(DISK, size)):
        raise _over(DISK, limit, 0, size, "Gigabytes")
    for kind, count in instances(request).items():
        now = used.get(kind, 0)
        if now + count > (limit := limits.get(kind, now + count)):
            raise _over(f"{kind} for training job usage", limit, now, count, "Instances")


def _over(name: str, limit: int, now: int, asked: int, unit: str) -> Refusal:
    return Refusal(
        "ResourceLimitExceeded",
        f"The account-level service limit '{name}' is {limit} {unit}, with current utilization of "
        f"{now} {unit} and a request delta of {asked} {unit}. Please use AWS Service Quotas to "
        "request an increase for this quota. If AWS Service Quotas is not available, contact AWS "
        "support to request an increase for this quota.",
    )


def _algorithm(request: dict[str, Any]) -> Iterator[str]:
    algorithm = request.get("AlgorithmSpecification")
    if algorithm is None:
        yield "AlgorithmSpecification is required."
        return
    if bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")):
        yield "You must specify either AlgorithmName or TrainingImage."
    image = algorithm.get("TrainingImage", "")
    access = algorithm.get("TrainingImageConfig", {}).get("TrainingRepositoryAccessMode")
    if image and access != "Vpc" and not IMAGE.fullmatch(image):
        yield (
            f"Invalid image URI {image}. Please provide a valid Amazon Elastic Container Registry "
            "path."
        )


def _machines(request: dict[str, Any]) -> Iterator[str]:
    wanted = request.get("ResourceConfig")
    if wanted is None:
        yield "ResourceConfig is required."
        return
    is_plain = "InstanceType" in wanted or "InstanceCount" in wanted
    if is_plain == bool(wanted.get("InstanceGroups")):
        yield "Specify either InstanceType and InstanceCount or InstanceGroups."
    elif is_plain and not ("InstanceType" in wanted and wanted.get("InstanceCount", 0) >= 1):
        yield "InstanceType and InstanceCount are required together; InstanceCount is at least 1."
    named = [group["InstanceGroupName"] for group in wanted.get("InstanceGroups", ())]
    if len(named) != len(set(named)):
        yield "Instance group names must be unique."
    if any(not group["InstanceCount"] for group in wanted.get("InstanceGroups", ())):
        yield "InstanceCount is at least 1."
    if wanted.get("VolumeSizeInGB", 0) < 1:
        yield "VolumeSizeInGB is required."


def _times(request: dict[str, Any]) -> Iterator[str]:
    condition = request.get("StoppingCondition")
    if condition is None:
        yield "StoppingCondition is required."
        return
    runtime, wait = condition.get("MaxRuntimeInSeconds"), condition.get("MaxWaitTimeInSeconds")
    if runtime and runtime > DAYS_28_S:
        yield f"MaxRuntimeInSeconds must be at most {DAYS_28_S}."
    if not request.get("EnableManagedSpotTraining"):
        if wait is not None:
            yield (
                "Invalid MaxWaitTimeInSeconds. It is supported only when "
                "EnableManagedSpotTraining is set to true"
            )
    elif wait is None or wait < (runtime or 24 * 3600):
        yield (
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
            "MaxRuntimeInSeconds"
        )


def _channels(request: dict[str, Any]) -> Iterator[str]:
    channels = request.get("InputDataConfig", ())
    named = [channel["ChannelName"] for channel in channels]
    if len(named) != len(set(named)):
        yield "Channel names must be unique."
    for channel in channels:
        if len(channel["DataSource"]) != 1:
            yield f"Channel {channel['ChannelName']} must have exactly one data source."


def _check_role(arn: str, trust: Mapping[str, Any] | None) -> None:
    refusal = Refusal(
        "ValidationException",
        f"Could not assume role {arn}. Please ensure that the role exists and allows principal "
        f"'{PRINCIPAL}' to assume the role.",
    )
    statements = trust["Statement"] if trust else []
    if isinstance(statements, dict):
        statements = [statements]
    if not any(_trusts(statement) for statement in statements):
        raise refusal


def _trusts(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal", {})
    services = principal.get("Service", []) if isinstance(principal, dict) else []
    actions = statement.get("Action", [])
    listed = [services] if isinstance(services, str) else services
    return (
        statement.get("Effect") == "Allow"
        and PRINCIPAL in listed
        and "sts:AssumeRole" in ([actions] if isinstance(actions, str) else actions)
    )
