"""All Auto Scaling groups: each launches and ends instances until it has as many as are wanted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends
from tests.rig.aws import checks
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import Refusal
from tests.rig.aws.group import HEALTH_CHECK, Group, Member
from tests.rig.aws.launch import Order
from tests.rig.aws.template import merged

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance
    from tests.rig.aws.launch import Launcher
    from tests.rig.aws.machines import Machines


class Groups:
    """All groups, which look after themselves each time that they are looked at."""

    def __init__(self, machines: Machines, launcher: Launcher) -> None:
        self._machines = machines
        self._launcher = launcher
        self._groups: list[Group] = []
        machines.on_gone.append(self._lost)

    def of(self, region: str) -> list[Group]:
        return [each for each in self._groups if each.region == region]

    def find(self, region: str, name: str) -> Group | None:
        return next((each for each in self.of(region) if each.name == name), None)

    def add(self, group: Group) -> None:
        self._groups.append(group)

    def delete(self, group: Group) -> None:
        """Let a group end with all that it has."""
        group.is_ending = True
        group.desired = group.least = 0
        self._tend(group)

    def look(self) -> None:
        """Let a while pass for the instances, and then for the groups."""
        self._machines.look()
        self.tend()

    def tend(self) -> None:
        """Launch and end what makes each group as large as is wanted."""
        for group in list(self._groups):
            self._tend(group)

    def end(self, group: Group, member: Member, cause: str) -> None:
        """Terminate an instance of a group."""
        group.note(f"Terminating EC2 instance: {member.instance.id}", cause)
        self._machines.terminate(member.instance)

    def _tend(self, group: Group) -> None:
        group.members = [each for each in group.members if each.instance.state != "terminated"]
        if group.is_ending and not group.members:
            self._groups.remove(group)
            return
        group.change_sizes()
        surplus = len(group.wanting) - group.desired
        if "Terminate" not in group.suspended:
            for member in group.wanting[: max(surplus, 0)]:
                self.end(group, member, "the desired capacity was lowered")
        if "Launch" not in group.suspended:
            for _ in range(-surplus):
                if not self._launch_one(group):
                    return

    def _launch_one(self, group: Group) -> bool:
        """Try each type and zone in turn; write the last refusal down when none has any."""
        spot = [each for each in group.wanting if each.instance.lifecycle == "spot"]
        is_spot = len(group.wanting) - len(spot) >= on_demand_share(group)
        refusal = None
        for order in launch_orders(group, spot=is_spot):
            try:
                (instance,) = self._launcher.launch(order).instances
            except Refusal as each:
                refusal = each
                continue
            group.members.append(Member(instance, group.template))
            group.note(f"Launching a new EC2 instance: {instance.id}", "an instance was started")
            return True
        assert refusal
        message = f"{refusal.message} Launching EC2 instance failed."
        if group.mixed:
            kind = "Spot" if is_spot else "On-Demand"
            message = f"Could not launch {kind} Instances. {refusal.code} - {message}"
        group.note("Launching a new EC2 instance", "an instance was wanted", "Failed", message)
        return False

    def _lost(self, instance: Instance, _: str) -> None:
        for group in self._groups:
            if any(each.instance is instance for each in group.members) and not group.is_ending:
                verb = f"Terminating EC2 instance: {instance.id}"
                if not group.activities or group.activities[-1]["Description"] != verb:
                    group.note(verb, HEALTH_CHECK)


def on_demand_share(group: Group) -> int:
    """Return how many of a group's instances are to be on demand."""
    if not group.mixed:
        return group.desired
    said = group.mixed.get("InstancesDistribution", {})
    base = min(said.get("OnDemandBaseCapacity", 0), group.desired)
    percent = said.get("OnDemandPercentageAboveBaseCapacity", 100)
    return int(base + math.ceil((group.desired - base) * percent / 100))


def launch_orders(group: Group, *, spot: bool) -> list[Order]:
    """Return the launches to try for one more instance; Refusal for a template that is none."""
    backend = ec2_backends[ACCOUNT][group.region]
    params = merged(backend, {"LaunchTemplate": group.template})
    if spot and group.mixed:
        price = group.mixed.get("InstancesDistribution", {}).get("SpotMaxPrice")
        options = {"MaxPrice": price} if price else {}
        params["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    kinds = [
        {"InstanceType": each["InstanceType"]}
        for each in (group.mixed or {}).get("LaunchTemplate", {}).get("Overrides", [])
        if "InstanceType" in each
    ] or [{}]
    places: list[dict[str, Any]] = [{"SubnetId": each} for each in group.subnets]
    places = places or [{"Placement": {"AvailabilityZone": each}} for each in group.zones]
    places.sort(key=lambda place: sum(_is_in(each, place) for each in group.wanting))
    tags = {"aws:autoscaling:groupName": group.name}
    for key, tag in group.tags.items():
        if tag.get("PropagateAtLaunch"):
            tags[key] = tag.get("Value", "")
    orders = []
    for kind in kinds:
        for place in places:
            made = {**params, **kind, **place}
            if "Placement" in place:
                made["Placement"] = {**params.get("Placement", {}), **place["Placement"]}
            if "SubnetId" in place and params.get("NetworkInterfaces"):
                del made["SubnetId"]
                made["NetworkInterfaces"] = [
                    {**each, **place} for each in params["NetworkInterfaces"]
                ]
            checks.check(group.region, made)
            orders.append(Order(group.region, made, 1, tags))
    return orders


def _is_in(member: Member, place: dict[str, Any]) -> bool:
    zone = place.get("Placement", {}).get("AvailabilityZone", "")
    return place.get("SubnetId") == member.instance.subnet_id or zone == str(
        member.instance.availability_zone
    )
