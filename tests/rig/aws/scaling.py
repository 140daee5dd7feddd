"""Auto Scaling's operations: what is asked of the groups, checked and answered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.rig.aws.call import Refusal, Service
from tests.rig.aws.group import Group
from tests.rig.aws.groups import launch_orders, places

if TYPE_CHECKING:
    from tests.rig.aws.call import Call
    from tests.rig.aws.group import Member
    from tests.rig.aws.groups import Groups

PAGE = 50
GONE = "AutoScalingGroup name not found - AutoScalingGroup '{}' not found"


class Scaling:
    """The operations on the groups that it is given."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def service(self) -> Service:
        operations = {
            "CreateAutoScalingGroup": self.create,
            "UpdateAutoScalingGroup": self.update,
            "SetDesiredCapacity": self.set_desired,
            "DeleteAutoScalingGroup": self.delete,
            "DescribeAutoScalingGroups": self.describe,
            "DescribeAutoScalingInstances": self.describe_instances,
            "DescribeScalingActivities": self.activities,
            "TerminateInstanceInAutoScalingGroup": self.terminate,
            "SuspendProcesses": self.suspend,
            "ResumeProcesses": self.resume,
            "CreateOrUpdateTags": self.tag,
            "PutScheduledUpdateGroupAction": self.schedule,
            "DescribeTags": self.tags,
        }
        return Service("autoscaling", "autoscaling", operations)

    def create(self, call: Call) -> Any:
        """Make a group; its instances come by themselves."""
        params = call.params
        name = params["AutoScalingGroupName"]
        if self._groups.find(call.region, name):
            message = (
                "AutoScalingGroup by this name already exists - A group with the name "
                f"{name} already exists"
            )
            raise Refusal("AlreadyExists", message)
        group = Group(name, call.region, params["MinSize"], params["MaxSize"], 0)
        _configure(group, params)
        group.desired = params.get("DesiredCapacity", group.least)
        group.tags = {each["Key"]: each for each in params.get("Tags", [])}
        _check(group)
        self._try_out(group)
        self._groups.add(group)
        return {}

    def _try_out(self, group: Group) -> None:
        """Refuse what EC2 refuses now, in its words, but not by its code."""
        try:
            self._groups.try_out(group)
        except Refusal as refusal:
            raise _no_template(refusal.message) from refusal

    def update(self, call: Call) -> Any:
        group = self._get(call)
        params = call.params
        group.least = params.get("MinSize", group.least)
        group.most = params.get("MaxSize", group.most)
        nearest = min(max(group.desired, group.least), group.most)
        group.desired = params.get("DesiredCapacity", nearest)
        _configure(group, params)
        _check(group)
        return {}

    def set_desired(self, call: Call) -> Any:
        group = self._get(call)
        group.desired = call.params["DesiredCapacity"]
        _check(group)
        return {}

    def schedule(self, call: Call) -> Any:
        """Let a group have other sizes from a time on; the same name again replaces it."""
        group, params = self._get(call), call.params
        start = params["StartTime"].replace(tzinfo=UTC)
        if start <= datetime.now(UTC):
            raise Refusal("ValidationError", "Given start time is in the past")
        group.scheduled[params["ScheduledActionName"]] = {**params, "StartTime": start}
        return {}

    def delete(self, call: Call) -> Any:
        group = self._get(call)
        if group.members and not call.params.get("ForceDelete"):
            raise Refusal(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot "
                "instance request(s) still in the group.",
            )
        self._groups.delete(group)
        return {}

    def describe(self, call: Call) -> Any:
        self._groups.look()
        named = call.params.get("AutoScalingGroupNames", [])
        found = [
            each.described()
            for each in self._groups.of(call.region)
            if (not named or each.name in named) and _passes(each, call.params.get("Filters", []))
        ]
        return _page(call, "AutoScalingGroups", found)

    def describe_instances(self, call: Call) -> Any:
        self._groups.look()
        named = call.params.get("InstanceIds", [])
        found = [
            {"AutoScalingGroupName": group.name, **member.described()}
            for group in self._groups.of(call.region)
            for member in group.members
            if not named or member.instance.id in named
        ]
        return _page(call, "AutoScalingInstances", found)

    def activities(self, call: Call) -> Any:
        """Answer what the groups did, the newest first."""
        self._groups.look()
        name = call.params.get("AutoScalingGroupName")
        found = [
            activity
            for group in self._groups.of(call.region)
            if name in {None, group.name}
            for activity in reversed(group.activities)
        ]
        return _page(call, "Activities", found)

    def terminate(self, call: Call) -> Any:
        """End one instance, and want one fewer when the caller says so."""
        instance_id = call.params["InstanceId"]
        group, member = self._member(call.region, instance_id)
        if call.params["ShouldDecrementDesiredCapacity"]:
            if group.desired <= group.least:
                raise Refusal(
                    "ValidationError",
                    f"Currently, desiredSize equals minSize ({group.least}). Terminating instance "
                    "without replacement will violate group's min size constraint. Either set "
                    "shouldDecrement flag to false or lower group's min size.",
                )
            group.desired -= 1
        self._groups.end(group, member, "a user requested that the instance be terminated")
        return {"Activity": group.activities[-1]}

    def suspend(self, call: Call) -> Any:
        named = call.params.get("ScalingProcesses") or ALL_PROCESSES
        why = f"User suspended at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self._get(call).suspended |= dict.fromkeys(named, why)
        return {}

    def resume(self, call: Call) -> Any:
        for each in call.params.get("ScalingProcesses") or ALL_PROCESSES:
            self._get(call).suspended.pop(each, None)
        return {}

    def tag(self, call: Call) -> Any:
        for each in call.params["Tags"]:
            group = self._groups.find(call.region, each.get("ResourceId", ""))
            if group is None:
                raise Refusal("ValidationError", GONE.format(each.get("ResourceId")))
            group.tags[each["Key"]] = each
        return {}

    def tags(self, call: Call) -> Any:
        filters = {each["Name"]: each["Values"] for each in call.params.get("Filters", [])}
        found = [
            tag
            for group in self._groups.of(call.region)
            for tag in group.described()["Tags"]
            if tag["ResourceId"] in filters.get("auto-scaling-group", [tag["ResourceId"]])
            and tag["Key"] in filters.get("key", [tag["Key"]])
            and tag["Value"] in filters.get("value", [tag["Value"]])
        ]
        return _page(call, "Tags", found)

    def _get(self, call: Call) -> Group:
        name = call.params["AutoScalingGroupName"]
        found = self._groups.find(call.region, name)
        if found is None:
            raise Refusal("ValidationError", GONE.format(name))
        return found

    def _member(self, region: str, instance_id: str) -> tuple[Group, Member]:
        for group in self._groups.of(region):
            for member in group.members:
                if member.instance.id == instance_id:
                    return group, member
        raise Refusal(
            "ValidationError",
            f"Instance Id not found - No managed instance found for instance ID: {instance_id}",
        )


ALL_PROCESSES = {"Launch", "Terminate", "HealthCheck", "ReplaceUnhealthy", "AZRebalance"}


def _configure(group: Group, params: dict[str, Any]) -> None:
    """Take over what says how a group's instances are to be."""
    if "LaunchTemplate" in params:
        group.template, group.mixed = params["LaunchTemplate"], None
    if policy := params.get("MixedInstancesPolicy"):
        group.mixed = policy
        group.template = policy["LaunchTemplate"]["LaunchTemplateSpecification"]
    if subnets := params.get("VPCZoneIdentifier"):
        group.subnets = subnets.split(",")
    group.zones = params.get("AvailabilityZones", group.zones)
    group.rebalances = params.get("CapacityRebalance", group.rebalances)


def _check(group: Group) -> None:
    if not group.template:
        message = "Valid requests must contain either LaunchTemplate or MixedInstancesPolicy."
        raise Refusal("ValidationError", message)
    if not group.subnets and not group.zones:
        message = "At least one Availability Zone or VPC Subnet is required."
        raise Refusal("ValidationError", message)
    if not group.least <= group.desired <= group.most:
        raise Refusal(
            "ValidationError",
            f"Desired capacity:{group.desired} must be between the specified min size:"
            f"{group.least} and max size:{group.most}",
        )
    try:
        orders = [
            each for place in places(group) for each in launch_orders(group, place, spot=False)
        ]
    except Refusal as refusal:
        raise _no_template(refusal.message) from refusal
    if group.mixed:
        _check_of_mixed(orders[0].params)


def _check_of_mixed(params: dict[str, Any]) -> None:
    """Refuse what a template of a mixed policy may not have, or (tags) possibly may not."""
    if "InstanceMarketOptions" in params:
        message = "Incompatible launch template: it requests Spot Instances itself."
        raise Refusal("InvalidQueryParameter", message)
    kinds = {each["ResourceType"] for each in params.get("TagSpecifications", [])}
    if "spot-instances-request" in kinds:
        raise _no_template("It has tags for Spot requests, and makes none.")


def _no_template(why: str) -> Refusal:
    return Refusal("ValidationError", f"You must use a valid fully-formed launch template. {why}")


def _page(call: Call, key: str, found: list[Any]) -> dict[str, Any]:
    start, size = int(call.params.get("NextToken") or 0), call.params.get("MaxRecords", PAGE)
    page: dict[str, Any] = {key: found[start : start + size]}
    if start + size < len(found):
        page["NextToken"] = str(start + size)
    return page


def _passes(group: Group, filters: list[dict[str, Any]]) -> bool:
    values = {
        "tag-key": set(group.tags),
        **{f"tag:{key}": {tag.get("Value", "")} for key, tag in group.tags.items()},
    }
    return all(values.get(each["Name"], set()) & set(each["Values"]) for each in filters)
