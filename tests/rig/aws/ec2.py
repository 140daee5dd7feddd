"""EC2's operations that moto has not, or not as EC2 has them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend
from moto.ec2.utils import filter_dict_attribute_mapping
from tests.rig.aws import images
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import ON_TO_MOTO, Call, Refusal, Service
from tests.rig.aws.launch import Launcher, Order
from tests.rig.aws.spot import SpotOperations
from tests.rig.aws.template import merged

from llmcloud.providers.aws.offers import DEFAULT_REGIONS

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance, Reservation
    from tests.rig.aws.machines import Machines
    from tests.rig.aws.world import World

PAGE = 1000
OF_AWS = "alias/aws/ebs"
filter_dict_attribute_mapping.update(  # moto refuses what it does not know
    {
        "client-token": "client_token",
        "instance-lifecycle": "lifecycle",
        "launch-index": "ami_launch_index",
        "placement-group-name": "placement.group_name",
        "spot-instance-request-id": "spot_instance_request_id",
    }
)
# What would make or change machines behind our back.
UNSERVED = ("CreateFleet", "RequestSpotInstances", "RequestSpotFleet")
UNSERVED += ("StartInstances", "StopInstances", "RebootInstances")
LOOKS = ("DescribeVolumes", "DescribeNetworkInterfaces", "DescribeInstanceStatus", "DescribeTags")


class Ec2:
    """The operations on instances, by the machines and the launcher that it is given."""

    def __init__(self, world: World, machines: Machines, launcher: Launcher) -> None:
        self._world = world
        self._machines = machines
        self._launcher = launcher
        self._tokens: dict[tuple[str, str], tuple[str, Reservation]] = {}

    def service(self) -> Service:
        spot = SpotOperations(self._world, self._launcher)
        groups = self._launcher.placement
        operations = {
            "RunInstances": self.run,
            "DescribeInstances": self.describe,
            "TerminateInstances": self.terminate,
            "DeleteSecurityGroup": self.delete_group,
            "GetConsoleOutput": self.console,
            "GetEbsDefaultKmsKeyId": self.disk_key,
            "DescribeImages": self.images,
            "DescribeRegions": self.regions,
            "DescribeSpotInstanceRequests": spot.describe,
            "CancelSpotInstanceRequests": spot.cancel,
            "DescribeSpotPriceHistory": spot.prices,
            "CreatePlacementGroup": groups.create,
            "DescribePlacementGroups": groups.describe,
            "DeletePlacementGroup": groups.delete,
            **dict.fromkeys(LOOKS, self.look),
            **dict.fromkeys(UNSERVED, self.refuse),
        }
        return Service("ec2", "ec2", operations, is_on_moto=True)

    def regions(self, call: Call) -> Any:
        """Return the regions that every account has; the others only when all are asked for."""
        known = DEFAULT_REGIONS
        if call.params.get("AllRegions"):
            known |= {each.name for each in RegionsAndZonesBackend.regions}
        named = set(call.params.get("RegionNames", known))
        if strange := named - known:
            raise Refusal("InvalidParameterValue", f"Invalid region names: {sorted(strange)}")
        return {
            "Regions": [
                {
                    "RegionName": name,
                    "Endpoint": f"ec2.{name}.amazonaws.com",
                    "OptInStatus": "opt-in-not-required"
                    if name in DEFAULT_REGIONS
                    else "not-opted-in",
                }
                for name in sorted(named)
            ]
        }

    def run(self, call: Call) -> Any:
        """Launch MaxCount instances or none; the same token asks for the same ones."""
        backend = ec2_backends[ACCOUNT][call.region]
        params = merged(backend, call.params)
        order = Order(call.region, params, int(call.params["MaxCount"]))
        token = (call.region, call.params.get("ClientToken", ""))
        digest = _digest(call.params)
        if token[1] and token in self._tokens:
            before, reservation = self._tokens[token]
            if before != digest:
                raise Refusal(
                    "IdempotentParameterMismatch",
                    "The client token has already been used with different parameters.",
                )
            return reservation
        if call.params["MinCount"] > call.params["MaxCount"] or call.params["MinCount"] < 1:
            message = "The parameters minCount and maxCount do not fit together."
            raise Refusal("InvalidParameterValue", message)
        self._launcher.check(order)
        if call.params.get("DryRun"):
            message = "Request would have succeeded, but DryRun flag is set."
            raise Refusal("DryRunOperation", message)
        reservation = self._launcher.launch(order)
        self._tokens[token] = (digest, reservation)
        return reservation

    def describe(self, call: Call) -> Any:
        """Describe the instances that are seen by now."""
        self._machines.look()
        named = call.params.get("InstanceIds", [])
        if named and "MaxResults" in call.params:
            message = "The parameter instancesSet cannot be used with the parameter maxResults"
            raise Refusal("InvalidParameterCombination", message)
        backend = ec2_backends[ACCOUNT][call.region]
        filters = {each["Name"]: each.get("Values", []) for each in call.params.get("Filters", [])}
        self._check_known(call.region, named)
        found = backend.describe_instances(filters=filters)
        for each in found:
            each.instances = [
                one
                for one in each.instances
                if self._machines.is_seen(one.id) and (not named or one.id in named)
            ]
        found = [each for each in found if each.instances]
        start = int(call.params.get("NextToken") or 0)
        size = call.params.get("MaxResults", PAGE)
        page: dict[str, Any] = {"Reservations": found[start : start + size]}
        if start + size < len(found):
            page["NextToken"] = str(start + size)
        return page

    def terminate(self, call: Call) -> Any:
        """Begin the end of instances; those that end already are no error."""
        self._check_known(call.region, call.params["InstanceIds"])
        if call.params.get("DryRun"):
            message = "Request would have succeeded, but DryRun flag is set."
            raise Refusal("DryRunOperation", message)
        ended = []
        for instance_id in call.params["InstanceIds"]:
            instance = self._machines.get(instance_id)
            before = {"Code": instance.state_code, "Name": instance.state}
            self._machines.terminate(instance)
            now = {"Code": instance.state_code, "Name": instance.state}
            ended.append({"InstanceId": instance_id, "CurrentState": now, "PreviousState": before})
        return {"TerminatingInstances": ended}

    def delete_group(self, call: Call) -> Any:
        """Delete a security group, unless an interface or another group's rule has it."""
        self._machines.look()
        backend = ec2_backends[ACCOUNT][call.region]
        name = call.params.get("GroupId") or call.params.get("GroupName")
        group = backend.get_security_group_by_name_or_id(name)
        if group is None:
            message = f"The security group '{name}' does not exist"
            raise Refusal("InvalidGroup.NotFound", message)
        if group.name == "default":
            raise Refusal("CannotDelete", f'the specified group: "{group.id}" name: "default"')
        uses = [eni for eni in backend.enis.values() if group in eni.group_set]
        others = [
            other
            for groups in backend.groups.values()
            for other in groups.values()
            if other is not group
            for rule in (*other.ingress_rules, *other.egress_rules)
            if (rule.source_group or {}).get("GroupId") == group.id
        ]
        if uses or others:
            raise Refusal("DependencyViolation", f"resource {group.id} has a dependent object")
        return ON_TO_MOTO

    def console(self, call: Call) -> Any:
        """Answer what the machine printed, when there is one."""
        instance = self._machines.get(call.params["InstanceId"])
        hypervisor = self._world.hypervisor
        output = b""
        if hypervisor:
            with contextlib.suppress(KeyError):  # it has not begun to boot
                output = hypervisor.console(instance.id)
        encoded = base64.b64encode(output).decode()
        now = datetime.now(UTC)
        return {"InstanceId": instance.id, "Timestamp": now, "Output": encoded}

    def disk_key(self, call: Call) -> Any:
        """Answer by the alias until a disk is encrypted, or another key named, then by the ARN."""
        return {"KmsKeyId": ec2_backends[ACCOUNT][call.region].default_kms_key_id or OF_AWS}

    def images(self, call: Call) -> Any:
        images.publish(call.region)
        return ON_TO_MOTO

    def look(self, call: Call) -> Any:
        """Let a while pass, and moto answer."""
        self._machines.look()
        self._check_known(call.region, call.params.get("InstanceIds", []))
        return ON_TO_MOTO

    def refuse(self, call: Call) -> Any:
        self._world.problems.append(f"not served: ec2 {call.operation}")
        raise Refusal("UnsupportedOperation", f"{call.operation} is not served here.", 501)

    def _check_known(self, region: str, named: list[str]) -> None:
        known = {each.id: each for each in self._machines.all() if each.region_name == region}
        missing = [each for each in named if not self._is_known(known.get(each))]
        if missing:
            some = f"The instance IDs '{', '.join(missing)}' do not exist"
            one = f"The instance ID '{missing[0]}' does not exist"
            raise Refusal("InvalidInstanceID.NotFound", some if len(missing) > 1 else one)

    def _is_known(self, instance: Instance | None) -> bool:
        return instance is not None and self._machines.is_seen(instance.id)


def _digest(params: dict[str, Any]) -> str:
    kept = {name: value for name, value in params.items() if name not in {"ClientToken", "DryRun"}}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()
