"""What AWS refuses, by its code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable


def refusal(call: Callable[..., Any], **params: Any) -> tuple[str, int]:
    """Return the code and the status of the error that a call ends in."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    said = caught.value.response
    return said["Error"]["Code"], said["ResponseMetadata"]["HTTPStatusCode"]


def states(ec2: Any, instance_ids: list[str]) -> list[str]:
    """Return the states of instances, each described once."""
    found = ec2.describe_instances(InstanceIds=instance_ids)["Reservations"]
    named = {one["InstanceId"]: one["State"]["Name"] for each in found for one in each["Instances"]}
    return [named[each] for each in instance_ids]
