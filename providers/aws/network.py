"""Where machines are put: subnets of a network, and a group that lets a job's nodes talk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws import names
from llmcloud.providers.aws.errors import code_of, translated
from llmcloud.runtime.errors import InvalidRequest, NoCapacity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.providers.aws.credentials import Account

DUPLICATE = {
    "InvalidGroup.Duplicate",
    "InvalidPermission.Duplicate",
    "InvalidPlacementGroup.Duplicate",
}
IN_USE = {"DependencyViolation", "InvalidGroup.InUse", "InvalidPlacementGroup.InUse"}
ABSENT = {"InvalidGroup.NotFound", "InvalidPlacementGroup.Unknown"}
DEFAULT = [{"Name": "default-for-az", "Values": ["true"]}]


@dataclass(frozen=True)
class Subnet:
    """A part of a network, in one zone."""

    id: str
    zone: str
    vpc: str


class Network:
    """The networks of an account in one region."""

    def __init__(self, account: Account, region: str) -> None:
        self._account, self._region = account, region

    def subnets(self) -> dict[str, Subnet]:
        """Return a default subnet a zone; InvalidRequest where there is none at all."""
        with translated(f"{self._region}, default subnets"):
            found = self._ec2.describe_subnets(Filters=DEFAULT)["Subnets"]
        if not found:
            raise InvalidRequest(
                "The region has no default network.",
                where=self._region,
                fix=f"aws ec2 create-default-vpc --region {self._region}",
            )
        return {
            each["AvailabilityZone"]: Subnet(
                each["SubnetId"], each["AvailabilityZone"], each["VpcId"]
            )
            for each in found
        }

    def zones_of(self, instance_type: str) -> list[str]:
        """Return the zones that have a type at all; NoCapacity where none of the region's does."""
        with translated(f"{self._region}, {instance_type}"):
            found = self._ec2.describe_instance_type_offerings(
                LocationType="availability-zone",
                Filters=[{"Name": "instance-type", "Values": [instance_type]}],
            )["InstanceTypeOfferings"]
        if not found:
            raise NoCapacity(f"{self._region} has no {instance_type}.", where=self._region)
        return [each["Location"] for each in found]

    def group(self, job: str, vpc: str, tags: Mapping[str, str], *, rdma: bool) -> str:
        """Return the id of a job's security group: nothing comes in but from its own nodes."""
        from botocore.exceptions import ClientError

        name = names.of_job(job)
        with translated(f"{self._region}, security group {name}"):
            try:
                made = self._ec2.create_security_group(
                    GroupName=name,
                    Description="The nodes of one job, among themselves",
                    VpcId=vpc,
                    TagSpecifications=[tagged("security-group", tags)],
                )
                group = str(made["GroupId"])
            except ClientError as error:
                if code_of(error) not in DUPLICATE:
                    raise
                group = self._find_group(name, vpc)
            own = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
            self._permit(self._ec2.authorize_security_group_ingress, group, own)
            if rdma:  # what goes to anywhere does not count for it
                self._permit(self._ec2.authorize_security_group_egress, group, own)
        return group

    def placement_group(self, job: str, tags: Mapping[str, str]) -> str:
        """Return the name of the placement group that puts a job's nodes close together."""
        from botocore.exceptions import ClientError

        name = names.of_job(job)
        with translated(f"{self._region}, placement group {name}"):
            try:
                self._ec2.create_placement_group(
                    GroupName=name,
                    Strategy="cluster",
                    TagSpecifications=[tagged("placement-group", tags)],
                )
            except ClientError as error:
                if code_of(error) not in DUPLICATE:
                    raise
        return name

    def delete(self, job: str) -> bool:
        """Delete what a job has of this; False while something still uses it."""
        filters = names.job_filter(job)
        with translated(f"{self._region}, {names.of_job(job)}"):
            groups = self._ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
            places = self._ec2.describe_placement_groups(Filters=filters)["PlacementGroups"]
            done = [
                _gone(lambda each=each: self._ec2.delete_security_group(GroupId=each["GroupId"]))
                for each in groups
            ]
            done += [
                _gone(
                    lambda each=each: self._ec2.delete_placement_group(GroupName=each["GroupName"])
                )
                for each in places
                if each["State"] != "deleted"
            ]
        return all(done)

    @property
    def _ec2(self) -> Any:
        return self._account.client_of("ec2", self._region)

    def _find_group(self, name: str, vpc: str) -> str:
        filters = [
            {"Name": "group-name", "Values": [name]},
            {"Name": "vpc-id", "Values": [vpc]},
        ]
        found = self._ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        return str(found[0]["GroupId"])

    def _permit(self, authorize: Any, group: str, permissions: list[dict[str, Any]]) -> None:
        from botocore.exceptions import ClientError

        try:
            authorize(GroupId=group, IpPermissions=permissions)
        except ClientError as error:
            if code_of(error) not in DUPLICATE:
                raise


def tagged(kind: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return tags as EC2 takes them for what a request makes."""
    return {"ResourceType": kind, "Tags": names.as_list(tags)}


def _gone(delete: Any) -> bool:
    from botocore.exceptions import ClientError

    try:
        delete()
    except ClientError as error:
        if code_of(error) in IN_USE:
            return False
        if code_of(error) not in ABSENT:
            raise
    return True
