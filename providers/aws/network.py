"""Where machines are put: subnets of a network, and a group that lets a job's nodes talk."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from llmcloud.providers.aws import names
from llmcloud.providers.aws.errors import code_of, tolerated, translated
from llmcloud.providers.aws.names import SUBNETS
from llmcloud.runtime.errors import (
    CredentialsError,
    Failure,
    InvalidRequest,
    NoCapacity,
    PermissionDenied,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from llmcloud.providers.aws.credentials import Account

T = TypeVar("T")
DUPLICATE = {
    "InvalidGroup.Duplicate",
    "InvalidPermission.Duplicate",
    "InvalidPlacementGroup.Duplicate",
}
IN_USE = {"DependencyViolation", "InvalidGroup.InUse", "InvalidPlacementGroup.InUse"}
AT_ONCE = 16
ABSENT = {"InvalidGroup.NotFound", "InvalidPlacementGroup.Unknown"}
DEFAULT = [{"Name": "default-for-az", "Values": ["true"]}]


@dataclass(frozen=True)
class Subnet:
    """A part of a network, in one zone; `is_public` if machines in it get public addresses."""

    id: str
    zone: str
    vpc: str
    is_public: bool


def subnet_in_plan(region: str) -> str:
    """Return what stands for the id of a subnet in a plan."""
    return f"(a subnet of {SUBNETS} in {region})" if _named() else f"(a default subnet of {region})"


def regions(account: Account) -> list[str]:
    """Return the regions that the account has enabled."""
    with translated("the regions of the account"):
        found = account.client_of("ec2").describe_regions()["Regions"]
    return [each["RegionName"] for each in found]


def everywhere(account: Account, look: Callable[[str], T]) -> dict[str, T | Failure]:
    """Do the same in all regions at once; what fails in one is what there is of it."""

    def within(region: str) -> T | Failure:
        try:
            return look(region)
        except Failure as failure:
            return failure

    there = regions(account)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(there, pool.map(within, there), strict=True))


def in_regions(account: Account, look: Callable[[str], T]) -> dict[str, T | None]:
    """Do the same in all regions at once; None is of those that we may not look at.

    Organisations close regions to all. Raises what was said of one where that is all of them.
    """
    found = everywhere(account, look)
    failures = [each for each in found.values() if isinstance(each, Failure)]
    for failure in failures:
        if not isinstance(failure, (PermissionDenied, CredentialsError)):
            raise failure
    if len(failures) == len(found):
        raise failures[0]
    return {region: None if isinstance(each, Failure) else each for region, each in found.items()}


class Network:
    """The networks of an account in one region."""

    def __init__(self, account: Account, region: str) -> None:
        self._account, self._region = account, region

    def subnets(self) -> dict[str, Subnet]:
        """Return a subnet a zone: of those that LLMCLOUD_AWS_SUBNETS names, else the default ones.

        InvalidRequest where there is no default one, NoCapacity in regions that named ones are not
        of.
        """
        named = _named()
        filters = [{"Name": "subnet-id", "Values": named}] if named else DEFAULT
        with translated(f"{self._region}, subnets"):
            found = self._ec2.describe_subnets(Filters=filters)["Subnets"]
        if not found and named:
            raise NoCapacity(
                f"{self._region} has none of {SUBNETS}.",
                where=self._region,
                fix=f"Set {SUBNETS} to subnets of the regions of the job, or unset it.",
            )
        if not found:
            raise InvalidRequest(
                "The region has no default network.",
                where=self._region,
                fix=f"aws ec2 create-default-vpc --region {self._region}, or set {SUBNETS}.",
            )
        if len({each["VpcId"] for each in found}) > 1:
            what = f"{SUBNETS} names subnets of several networks."
            raise InvalidRequest(what, where=self._region, fix="Name those of one.")
        chosen = sorted(found, key=lambda each: each["AvailableIpAddressCount"])
        return {
            each["AvailabilityZone"]: Subnet(
                each["SubnetId"],
                each["AvailabilityZone"],
                each["VpcId"],
                is_public=each["MapPublicIpOnLaunch"],
            )
            for each in chosen
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

    def having(self, instance_type: str) -> dict[str, Subnet]:
        """Return a subnet of each zone that has a type; NoCapacity where there is none."""
        with ThreadPoolExecutor(2) as pool:
            subnets = pool.submit(self.subnets)
            having = pool.submit(self.zones_of, instance_type)
            found = {
                zone: subnet for zone, subnet in subnets.result().items() if zone in having.result()
            }
        if not found:
            raise NoCapacity(f"No zone with a subnet has {instance_type}.", where=self._region)
        return found

    def group(self, job: str, vpc: str, tags: Mapping[str, str], *, rdma: bool) -> str:
        """Return the id of a job's security group: nothing comes in but from its own nodes."""
        name = names.of_job(job)
        where = f"{self._region}, security group {name}"
        with translated(where), self._awaiting(name):
            group = self._make_group(name, "The nodes of one job, among themselves", vpc, tags)
            own = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
            with tolerated(DUPLICATE):
                self._ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=own)
            if rdma:  # what goes to anywhere does not count for it
                with tolerated(DUPLICATE):
                    self._ec2.authorize_security_group_egress(GroupId=group, IpPermissions=own)
        return group

    def closed_group(self, name: str, vpc: str, tags: Mapping[str, str]) -> str:
        """Return the id of a security group that nothing comes in by."""
        with translated(f"{self._region}, security group {name}"):
            return self._make_group(name, "Nothing comes in", vpc, tags)

    def placement_group(self, job: str, tags: Mapping[str, str]) -> str:
        """Return the name of the placement group that puts a job's nodes close together."""
        name = names.of_job(job)
        with translated(f"{self._region}, placement group {name}"), tolerated(DUPLICATE):
            self._ec2.create_placement_group(
                GroupName=name,
                Strategy="cluster",
                TagSpecifications=[tagged("placement-group", tags)],
            )
        return name

    def delete(self, job: str) -> bool:
        """Delete what a job has of this; False while something still uses it."""
        filters = names.job_filter(job)
        done = [self.delete_groups(filters)]
        with translated(f"{self._region}, {names.of_job(job)}"):
            places = self._ec2.describe_placement_groups(Filters=filters)["PlacementGroups"]
            done += [
                _gone(
                    lambda each=each: self._ec2.delete_placement_group(GroupName=each["GroupName"])
                )
                for each in places
                if each["State"] != "deleted"
            ]
        return all(done)

    def groups(self, filters: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
        """Return the security groups that a filter finds: the tags of each by its id."""
        with translated(f"{self._region}, security groups"):
            found = self._ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        return {each["GroupId"]: names.as_dict(each.get("Tags")) for each in found}

    def delete_groups(self, filters: list[dict[str, Any]]) -> bool:
        """Delete the security groups that a filter finds; False while something still uses one."""
        found = self.groups(filters)
        with translated(f"{self._region}, {', '.join(found)}"):
            done = [
                _gone(lambda each=each: self._ec2.delete_security_group(GroupId=each))
                for each in found
            ]
        return all(done)

    @property
    def _ec2(self) -> Any:
        return self._account.client_of("ec2", self._region)

    def _make_group(self, name: str, why: str, vpc: str, tags: Mapping[str, str]) -> str:
        with tolerated(DUPLICATE):
            made = self._ec2.create_security_group(
                GroupName=name,
                Description=why,
                VpcId=vpc,
                TagSpecifications=[tagged("security-group", tags)],
            )
            return str(made["GroupId"])
        return self._find_group(name, vpc)

    def _find_group(self, name: str, vpc: str) -> str:
        filters = [
            {"Name": "group-name", "Values": [name]},
            {"Name": "vpc-id", "Values": [vpc]},
        ]
        found = self._ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        if not found:
            raise self._unseen(name)
        return str(found[0]["GroupId"])

    @contextlib.contextmanager
    def _awaiting(self, name: str) -> Iterator[None]:
        """Raise Unavailable where not all of EC2 knows yet what it has just made."""
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            if code_of(error) not in ABSENT:
                raise
            raise self._unseen(name) from error

    def _unseen(self, name: str) -> Unavailable:
        return Unavailable(f"{name} was just made, and is not seen yet.", where=self._region)


def tagged(kind: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return tags as EC2 takes them for what a request makes."""
    return {"ResourceType": kind, "Tags": names.as_list(tags)}


def _named() -> list[str]:
    return list(filter(None, map(str.strip, os.environ.get(SUBNETS, "").split(","))))


def _gone(delete: Any) -> bool:
    with tolerated(IN_USE):
        with tolerated(ABSENT):
            delete()
        return True
    return False
