"""Placement groups, which moto has not."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends
from moto.ec2.utils import convert_tag_spec
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import Refusal

if TYPE_CHECKING:
    from tests.rig.aws.call import Call
    from tests.rig.aws.machines import Machines


@dataclass
class PlacementGroup:
    """A group by its name in a region."""

    name: str
    region: str
    strategy: str
    tags: dict[str, str]
    id: str = field(default_factory=lambda: f"pg-{uuid.uuid4().hex[:17]}")

    def described(self) -> dict[str, Any]:
        return {
            "GroupName": self.name,
            "GroupId": self.id,
            "Strategy": self.strategy,
            "State": "available",
            "GroupArn": f"arn:aws:ec2:{self.region}:{ACCOUNT}:placement-group/{self.name}",
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
        }


class PlacementGroups:
    """All of them, in every region."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._groups: dict[tuple[str, str], PlacementGroup] = {}

    def create(self, call: Call) -> Any:
        name = call.params["GroupName"]
        if (call.region, name) in self._groups:
            message = f"The placement group '{name}' already exists."
            raise Refusal("InvalidPlacementGroup.Duplicate", message)
        tags = convert_tag_spec(call.params.get("TagSpecifications", []))
        strategy = call.params.get("Strategy", "cluster")
        made = PlacementGroup(name, call.region, strategy, tags.get("placement-group", {}))
        self._groups[call.region, name] = made
        ec2_backends[ACCOUNT][call.region].tags[name].update(made.tags)  # for IAM's conditions
        return {"PlacementGroup": made.described()}

    def describe(self, call: Call) -> Any:
        of_region = [each for each in self._groups.values() if each.region == call.region]
        named = set(call.params.get("GroupNames", []))
        if missing := named - {each.name for each in of_region}:
            raise _unknown(min(missing))
        found = [each for each in of_region if not named or each.name in named]
        filters = call.params.get("Filters", [])
        return {"PlacementGroups": [each.described() for each in found if _passes(each, filters)]}

    def check(self, region: str, params: dict[str, Any]) -> None:
        """Raise Refusal for a launch into a group that is none."""
        name = params.get("Placement", {}).get("GroupName")
        if name and (region, name) not in self._groups:
            raise _unknown(name)

    def delete(self, call: Call) -> Any:
        self._machines.look()
        name = call.params["GroupName"]
        if (call.region, name) not in self._groups:
            raise _unknown(name)
        for each in self._machines.all():
            is_here = each.region_name == call.region and each.placement.group_name == name
            if is_here and each.state != "terminated":
                message = f"The placement group '{name}' is in use and may not be deleted."
                raise Refusal("InvalidPlacementGroup.InUse", message)
        del self._groups[call.region, name]
        return {}


def _unknown(name: str) -> Refusal:
    return Refusal("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")


def _passes(group: PlacementGroup, filters: list[dict[str, Any]]) -> bool:
    values = {
        "group-name": {group.name},
        "tag-key": set(group.tags),
        **{f"tag:{key}": {value} for key, value in group.tags.items()},
    }
    return all(values.get(each["Name"], set()) & set(each.get("Values", [])) for each in filters)
