"""What jobs have left behind in an account: found by its tags, in every region it has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.core.provider import Leftover, Place
from llmcloud.providers.aws import names, training_images
from llmcloud.providers.aws.ec2 import ENDED, instances
from llmcloud.providers.aws.errors import translated
from llmcloud.providers.aws.machines import Machines
from llmcloud.providers.aws.network import AT_ONCE, in_regions
from llmcloud.providers.aws.training import KIND, Training

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.identity import Identity

ROLE = "role"
OURS = [{"Name": "tag-key", "Values": [names.JOB]}]

Tagged = tuple[Leftover, dict[str, str]]


@dataclass(frozen=True)
class Seen:
    """What any jobs have, with its tags, but for the regions that are closed to us."""

    found: tuple[Tagged, ...]
    closed: tuple[str, ...]

    def of(self, stores: frozenset[str], *, live: frozenset[str]) -> list[Leftover]:
        """Return what is of jobs of `stores` that are not live."""
        return [
            leftover
            for leftover, tags in self.found
            if tags.get(names.STORE) in stores and tags.get(names.JOB) not in live
        ]

    @property
    def stores(self) -> list[str]:
        """Return the stores that it is of."""
        return sorted({tags[names.STORE] for _, tags in self.found if names.STORE in tags})


def look(account: Account, identity: Identity) -> Seen:
    """Look into every region."""
    machines = in_regions(account, lambda region: [*_in_region(account, region)])
    is_open = [region for region, seen in machines.items() if seen is not None]
    there = [region for region in is_open if region in training_images.accounts()]
    training = Training(account, identity)
    with ThreadPoolExecutor(AT_ONCE) as pool:  # who may not look for these is told so
        jobs = list(pool.map(lambda region: [*training.left(region)], there))
    roles = [
        (Leftover(ROLE, names.of_job(job), job, "a role and its instance profile"), dict(tags))
        for job, tags in identity.of_jobs()
    ]
    found = [each for seen in (*jobs, *machines.values(), roles) for each in seen or ()]
    closed = sorted(region for region, seen in machines.items() if seen is None)
    return Seen(tuple(found), tuple(closed))


def remove(account: Account, identity: Identity, leftover: Leftover) -> bool:
    """Delete what a job has in the leftover's region; True once it is gone."""
    if leftover.kind == ROLE:
        identity.delete(leftover.job or "")
        return True
    if leftover.kind == KIND:
        return Training(account, identity).end(leftover)
    region = leftover.id.partition("/")[0]
    place = Place(leftover.job or "", "vm", region, 0)
    return Machines(account, identity).delete(place)


def _in_region(account: Account, region: str) -> Iterator[Tagged]:
    """Yield what bears a job's tag, and its tags; a machine first, as the rest can't go before."""
    ec2 = account.client_of("ec2", region)
    scaling = account.client_of("autoscaling", region)
    with translated(region):
        for page in scaling.get_paginator("describe_auto_scaling_groups").paginate(Filters=OURS):
            for group in page["AutoScalingGroups"]:
                said = f"brings machines back, {group['DesiredCapacity']} of them"
                yield _found(
                    region, "scaling group", group["AutoScalingGroupName"], group["Tags"], said
                )
        for each in instances(account, region, OURS):
            if (state := each["State"]["Name"]) not in ENDED:
                said = f"{each['InstanceType']}, {state}"
                yield _found(region, "machine", each["InstanceId"], each["Tags"], said)
        for group in ec2.describe_security_groups(Filters=OURS)["SecurityGroups"]:
            yield _found(region, "security group", group["GroupId"], group["Tags"])
        for placement in ec2.describe_placement_groups(Filters=OURS)["PlacementGroups"]:
            if placement["State"] != "deleted":
                name = placement["GroupName"]
                yield _found(region, "placement group", name, placement["Tags"])
        for template in ec2.describe_launch_templates(Filters=OURS)["LaunchTemplates"]:
            name = template["LaunchTemplateName"]
            yield _found(region, "launch template", name, template["Tags"])


def _found(region: str, kind: str, name: str, tags: list[dict[str, Any]], said: str = "") -> Tagged:
    own = names.as_dict(tags)
    return Leftover(kind, f"{region}/{name}", own.get(names.JOB), said), own
