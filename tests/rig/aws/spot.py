"""Spot requests, their prices, and what happens when EC2 wants its machines back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from tests.rig.aws import prices
from tests.rig.aws.call import Refusal

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance
    from tests.rig.aws.call import Call
    from tests.rig.aws.launch import Launcher
    from tests.rig.aws.world import World

FULFILLED = ("active", "fulfilled", "Your Spot request is fulfilled.")
ENDS = {  # the reason of an instance's end: what becomes of its request
    "Server.SpotInstanceTermination": (
        "closed",
        "instance-terminated-no-capacity",
        "Your Spot Instance was terminated because there is no Spot capacity available.",
    ),
}
BY_USER = (
    "closed",
    "instance-terminated-by-user",
    "Spot Instance terminated due to user-initiated termination.",
)


@dataclass
class SpotRequest:
    """A one-time request of one instance, which it was given at once."""

    id: str
    instance: Instance
    options: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    status: tuple[str, str, str] = FULFILLED
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))

    def end(self, code: str) -> None:
        self.status = ENDS.get(code, BY_USER)
        self.updated = datetime.now(UTC)

    def described(self) -> dict[str, Any]:
        state, code, message = self.status
        return {
            "SpotInstanceRequestId": self.id,
            "InstanceId": self.instance.id,
            "State": state,
            "Status": {"Code": code, "Message": message, "UpdateTime": self.updated},
            "CreateTime": self.created,
            "Type": self.options.get("SpotInstanceType", "one-time"),
            "InstanceInterruptionBehavior": self.options.get(
                "InstanceInterruptionBehavior", "terminate"
            ),
            "SpotPrice": self.options.get("MaxPrice", "1.000000"),
            "ProductDescription": "Linux/UNIX",
            "LaunchedAvailabilityZone": self.instance.availability_zone,
            "LaunchSpecification": {
                "ImageId": self.instance.image_id,
                "InstanceType": self.instance.instance_type,
            },
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
        }


def spot_options(params: dict[str, Any]) -> dict[str, Any]:
    """Return the spot options of a launch, not empty when it is for a spot instance."""
    market = params.get("InstanceMarketOptions", {})
    if market.get("MarketType") != "spot":
        return {}
    options = {"SpotInstanceType": "one-time", **market.get("SpotOptions", {})}
    behaviour = options.get("InstanceInterruptionBehavior", "terminate")
    if options["SpotInstanceType"] == "one-time" and behaviour != "terminate":
        raise Refusal(
            "InvalidParameterValue",
            f"The instance interruption behavior '{behaviour}' needs a persistent request.",
        )
    return options


class SpotOperations:
    """EC2's operations on spot requests and prices."""

    def __init__(self, world: World, launcher: Launcher) -> None:
        self._world = world
        self._launcher = launcher

    def describe(self, call: Call) -> Any:
        found = [each for each in self._of(call) if _passes(each, call.params.get("Filters", []))]
        return {"SpotInstanceRequests": [each.described() for each in found]}

    def cancel(self, call: Call) -> Any:
        """Cancel requests; their instances stay."""
        cancelled = []
        for each in self._of(call):
            message = "Your Spot request was canceled while your instance runs."
            if each.status == FULFILLED:
                each.status = ("cancelled", "request-canceled-and-instance-running", message)
            cancelled.append({"SpotInstanceRequestId": each.id, "State": each.status[0]})
        return {"CancelledSpotInstanceRequests": cancelled}

    def prices(self, call: Call) -> Any:
        """Answer the price of each type and zone as of now, paged."""
        types = call.params.get("InstanceTypes", [])
        zone = call.params.get("AvailabilityZone")
        offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(call.region, [])
        found = [
            {
                "AvailabilityZone": each["Location"],
                "InstanceType": each["InstanceType"],
                "ProductDescription": "Linux/UNIX",
                "SpotPrice": f"{prices.spot(self._world, call.region, each['InstanceType']):.6f}",
                "Timestamp": datetime.now(UTC),
            }
            for each in offered
            if each["InstanceType"] in (types or [each["InstanceType"]])
            and zone in {None, each["Location"]}
        ]
        start, size = int(call.params.get("NextToken") or 0), call.params.get("MaxResults", 1000)
        is_more = start + size < len(found)
        return {
            "SpotPriceHistory": found[start : start + size],
            "NextToken": str(start + size) if is_more else "",
        }

    def _of(self, call: Call) -> list[SpotRequest]:
        """Return the requests that are named, or all of the region."""
        region = [
            each
            for each in self._launcher.spot_requests.values()
            if each.instance.region_name == call.region
        ]
        named = call.params.get("SpotInstanceRequestIds")
        if named and (unknown := set(named) - {each.id for each in region}):
            raise Refusal(
                "InvalidSpotInstanceRequestID.NotFound",
                f"The spot instance request ID '{min(unknown)}' does not exist",
            )
        return [each for each in region if not named or each.id in named]


def _passes(request: SpotRequest, filters: list[dict[str, Any]]) -> bool:
    values = {
        "state": {request.status[0]},
        "status-code": {request.status[1]},
        "instance-id": {request.instance.id},
        "spot-instance-request-id": {request.id},
        "tag-key": set(request.tags),
        **{f"tag:{key}": {value} for key, value in request.tags.items()},
    }
    return all(values.get(each["Name"], set()) & set(each.get("Values", [])) for each in filters)
