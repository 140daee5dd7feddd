"""All Auto Scaling groups: each launches and ends instances until it has as many as are wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends
from tests.rig.aws import checks
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import Refusal
from tests.rig.aws.group import HEALTH_CHECK, Group, Member, details
from tests.rig.aws.launch import Order
from tests.rig.aws.template import merged

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance
    from tests.rig.aws.launch import Launcher
    from tests.rig.aws.machines import Machines

CODES_OF_FLEETS = {"Unsupported": "InvalidFleetConfiguration"}  # where RunInstances has another


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

    def try_out(self, group: Group) -> None:
        """Raise what EC2 would refuse a group's first launch for, were it on demand."""
        for order in launch_orders(group, next_place(group), spot=False)[:1]:
            self._launcher.try_out(order)

    def end(self, group: Group, member: Member, cause: str) -> None:
        """Terminate an instance of a group."""
        group.note(f"Terminating EC2 instance: {member.instance.id}", cause, member.where)
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
        """Try each type in one zone; once it is refused there, the next look tries another."""
        spot = [each for each in group.wanting if each.instance.lifecycle == "spot"]
        is_spot = len(group.wanting) - len(spot) >= on_demand_share(group)
        where = next_place(group)
        refusal = None
        for order in launch_orders(group, where, spot=is_spot):
            try:
                (instance,) = self._launcher.launch(order).instances
            except Refusal as each:
                refusal = each
                continue
            group.members.append(Member(instance, group.template))
            verb = f"Launching a new EC2 instance: {instance.id}"
            group.note(verb, "an instance was started", where.details)
            group.refused.clear()
            return True
        assert refusal
        group.refused.append(where.name)
        message = f"{refusal.message} Launching EC2 instance failed."
        if group.mixed:
            kind = "Spot" if is_spot else "On-Demand"
            code = CODES_OF_FLEETS.get(refusal.code, refusal.code)
            message = f"Could not launch {kind} Instances. {code} - {message}"
        group.note("Launching a new EC2 instance", "an instance was wanted", where.details, message)
        return False

    def _lost(self, instance: Instance, _: str) -> None:
        for group in self._groups:
            member = next((each for each in group.members if each.instance is instance), None)
            if member and not group.is_ending:
                verb = f"Terminating EC2 instance: {instance.id}"
                if not group.activities or group.activities[-1]["Description"] != verb:
                    group.note(verb, HEALTH_CHECK, member.where)


def on_demand_share(group: Group) -> int:
    """Return how many of a group's instances are to be on demand."""
    if not group.mixed:
        return group.desired
    said = group.mixed.get("InstancesDistribution", {})
    base = min(said.get("OnDemandBaseCapacity", 0), group.desired)
    percent = said.get("OnDemandPercentageAboveBaseCapacity", 100)
    return int(base + math.ceil((group.desired - base) * percent / 100))


@dataclass(frozen=True)
class Where:
    """A zone or subnet of a group's; `params` are how RunInstances says it."""

    name: str
    region: str
    params: dict[str, Any]

    @property
    def details(self) -> str:
        if "SubnetId" not in self.params:
            return details(self.name, "")
        subnet = ec2_backends[ACCOUNT][self.region].get_subnet(self.name)
        return details(subnet.availability_zone, subnet.id)

    def has(self, member: Member) -> bool:
        return self.name in {member.instance.subnet_id, str(member.instance.availability_zone)}


def next_place(group: Group) -> Where:
    """Return where to try next: the emptiest of those where the last tries did not fail."""
    found = places(group)
    if {each.name for each in found} <= {*group.refused}:
        group.refused.clear()
    left = [each for each in found if each.name not in group.refused]
    return min(left, key=lambda each: sum(map(each.has, group.wanting)))


def places(group: Group) -> list[Where]:
    """Return where a group may launch."""
    named = [(each, {"SubnetId": each}) for each in group.subnets] or [
        (each, {"Placement": {"AvailabilityZone": each}}) for each in group.zones
    ]
    return [Where(name, group.region, params) for name, params in named]


def launch_orders(group: Group, where: Where, *, spot: bool) -> list[Order]:
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
    tags = {"aws:autoscaling:groupName": group.name}
    for key, tag in group.tags.items():
        if tag.get("PropagateAtLaunch"):
            tags[key] = tag.get("Value", "")
    orders, place = [], where.params
    for kind in kinds:
        made = {**params, **kind, **place}
        if "Placement" in place:
            made["Placement"] = {**params.get("Placement", {}), **place["Placement"]}
        if "SubnetId" in place and params.get("NetworkInterfaces"):
            del made["SubnetId"]
            made["NetworkInterfaces"] = [{**each, **place} for each in params["NetworkInterfaces"]]
        checks.check(group.region, made)
        orders.append(Order(group.region, made, 1, tags))
    return orders
