"""Machines by themselves as EC2 describes them, and those of jobs beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmcloud.core.instances import Instance, InstanceState
from llmcloud.providers.aws import ec2, names, offers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmcloud.providers.aws.credentials import Account

STATES = {
    "pending": InstanceState.STARTING,
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.STOPPED,
    "stopped": InstanceState.STOPPED,
    "shutting-down": InstanceState.ENDING,
    "terminated": InstanceState.ENDED,
}
NOT_ENDED = {
    "Name": "instance-state-name",
    "Values": [name for name, state in STATES.items() if state is not InstanceState.ENDED],
}


def look(account: Account, region: str, filters: list[dict[str, Any]]) -> Iterator[Instance]:
    """Return the machines of a region that filters of EC2's find."""
    return (described(each, region) for each in ec2.instances(account, region, filters))


def of_name(account: Account, region: str, name: str) -> list[Instance]:
    """Return the machines of a name in a region that have not ended."""
    return [*look(account, region, [*names.instance_filter(name), NOT_ENDED])]


def described(said: Mapping[str, Any], region: str) -> Instance:
    """Return a machine as EC2 says it."""
    tags, kind = names.as_dict(said.get("Tags")), said["InstanceType"]
    listing = offers.read().find(kind)
    is_spot = said.get("InstanceLifecycle") == "spot"
    state = STATES.get(said["State"]["Name"], InstanceState.STARTING)
    is_over = state in {InstanceState.ENDING, InstanceState.ENDED}
    return Instance(
        name=tags.get(names.INSTANCE) or tags.get("Name", ""),
        id=said["InstanceId"],
        provider="aws",
        region=region,
        zone=said["Placement"]["AvailabilityZone"],
        instance_type=kind,
        state=state,
        created_at=said["LaunchTime"].timestamp(),
        expires_at=names.expiry_of(tags),
        accelerator=listing.accelerator if listing else None,
        accelerators=listing.accelerators if listing else 0,
        spot=is_spot,
        price_usd_per_hour=listing.price(region, spot=is_spot) if listing else None,
        owner=tags.get(names.OWNER, ""),
        job=tags.get(names.JOB),
        labels={key: value for key, value in tags.items() if ":" not in key and key != "Name"},
        detail=said.get("StateReason", {}).get("Message", "") if is_over else "",
    )
