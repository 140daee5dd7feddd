"""An Auto Scaling group: how it is to be, what it has, and what it wrote down of what it did."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.rig.aws.account import ACCOUNT

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

KEPT_ACTIVITIES = 100
STATES = {"pending": "Pending", "running": "InService"}
HEALTH_CHECK = (
    "an instance was taken out of service in response to an EC2 health check indicating it has "
    "been terminated or stopped"
)


@dataclass
class Member:
    """An instance of a group."""

    instance: Instance
    template: dict[str, Any]

    @property
    def where(self) -> str:
        return details(str(self.instance.availability_zone), str(self.instance.subnet_id))

    def described(self) -> dict[str, Any]:
        state = STATES.get(self.instance.state, "Terminating")
        return {
            "InstanceId": self.instance.id,
            "InstanceType": self.instance.instance_type,
            "AvailabilityZone": self.instance.availability_zone,
            "LifecycleState": state,
            "HealthStatus": "Unhealthy" if state == "Terminating" else "Healthy",
            "LaunchTemplate": self.template,
            "ProtectedFromScaleIn": False,
        }


@dataclass
class Group:
    """A group as it was asked for, and what it has."""

    name: str
    region: str
    least: int
    most: int
    desired: int
    template: dict[str, Any] = field(default_factory=dict)
    mixed: dict[str, Any] | None = None
    subnets: list[str] = field(default_factory=list)
    zones: list[str] = field(default_factory=list)
    tags: dict[str, dict[str, Any]] = field(default_factory=dict)
    rebalances: bool = False
    members: list[Member] = field(default_factory=list)
    activities: list[dict[str, Any]] = field(default_factory=list)
    suspended: dict[str, str] = field(default_factory=dict)  # processes, with the reason
    refused: list[str] = field(default_factory=list)  # places where the last tries failed
    is_ending: bool = False
    scheduled: dict[str, dict[str, Any]] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def change_sizes(self) -> None:
        """Do what was scheduled for a time that has come."""
        for name, action in list(self.scheduled.items()):
            if action["StartTime"] <= datetime.now(UTC):
                self.least = action.get("MinSize", self.least)
                self.most = action.get("MaxSize", self.most)
                self.desired = action.get("DesiredCapacity", self.desired)
                del self.scheduled[name]

    @property
    def wanting(self) -> list[Member]:
        """Those that count."""
        return [each for each in self.members if each.instance.state in STATES]

    def described(self) -> dict[str, Any]:
        arn = f"arn:aws:autoscaling:{self.region}:{ACCOUNT}:autoScalingGroup:{self.id}"
        said: dict[str, Any] = {
            "AutoScalingGroupName": self.name,
            "AutoScalingGroupARN": f"{arn}:autoScalingGroupName/{self.name}",
            "MinSize": self.least,
            "MaxSize": self.most,
            "DesiredCapacity": self.desired,
            "DefaultCooldown": 300,
            "AvailabilityZones": self.zones,
            "HealthCheckType": "EC2",
            "HealthCheckGracePeriod": 0,
            "CreatedTime": self.created,
            "Instances": [each.described() for each in self.members],
            "SuspendedProcesses": [
                {"ProcessName": name, "SuspensionReason": why}
                for name, why in sorted(self.suspended.items())
            ],
            "CapacityRebalance": self.rebalances,
            "VPCZoneIdentifier": ",".join(self.subnets),
            "Tags": [
                {
                    "ResourceId": self.name,
                    "ResourceType": "auto-scaling-group",
                    "Key": key,
                    "Value": tag.get("Value", ""),
                    "PropagateAtLaunch": tag.get("PropagateAtLaunch", False),
                }
                for key, tag in self.tags.items()
            ],
        }
        if self.mixed:
            said["MixedInstancesPolicy"] = self.mixed
        else:
            said["LaunchTemplate"] = self.template
        return {**said, "Status": "Delete in progress"} if self.is_ending else said

    def note(self, verb: str, cause: str, where: str, refusal: str = "") -> None:
        """Write down an activity, and `where` it was, as `details` says it."""
        now = datetime.now(UTC)
        made = {
            "ActivityId": str(uuid.uuid4()),
            "AutoScalingGroupName": self.name,
            "Description": f"{verb}.  Status Reason: {refusal}" if refusal else verb,
            "Cause": f"At {now:%Y-%m-%dT%H:%M:%SZ} {cause}.",
            "StartTime": now,
            "EndTime": now,
            "StatusCode": "Failed" if refusal else "Successful",
            "Progress": 100,
            "Details": where,
        }
        self.activities.append({**made, "StatusMessage": refusal} if refusal else made)
        del self.activities[:-KEPT_ACTIVITIES]


def details(zone: str, subnet: str) -> str:
    """Return how an activity says where it was."""
    said = {"Subnet ID": subnet, "Availability Zone": zone}
    return json.dumps({key: value for key, value in said.items() if value}, separators=(",", ":"))
