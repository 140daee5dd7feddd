"""Machines by themselves that have expired, and what was made for some that are not there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmcloud.core.instances import GLOBAL
from llmcloud.core.provider import Leftover
from llmcloud.providers.aws import instance_view, names
from llmcloud.providers.aws.network import Network, in_regions
from llmcloud.runtime import status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llmcloud.core.instances import Instance
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.roles import Roles

MAKING_S = 900.0  # what is younger may be of a create that goes on
INSTANCE, GROUP, ROLE = "instance", "instance's group", "instance's role"
KINDS = {INSTANCE, GROUP, ROLE}
OURS = [{"Name": "tag-key", "Values": [names.INSTANCE]}]


def find(account: Account, roles: Roles) -> list[Leftover]:
    """Return what is left over in every region, and in IAM; `id` is its place and its name."""
    now = time.time()
    filters = [*OURS, instance_view.NOT_ENDED]

    def look(region: str) -> tuple[list[Instance], list[Mapping[str, str]]]:
        machines = [*instance_view.look(account, region, filters)]
        return machines, [*Network(account, region).groups(OURS).values()]

    by_region = in_regions(account, look)
    found: list[Leftover] = []
    alive: set[str] = set()
    for region, seen in by_region.items():
        machines, groups = seen or ([], [])
        alive |= {each.name for each in machines if not _is_expired(each, now)}
        found += _expired(machines, now)
        found += (
            Leftover(GROUP, f"{region}/{name}", None, "a security group without its machine")
            for name in _left(groups, {each.name for each in machines}, now)
        )
    if None not in by_region.values():  # else a role's machine may be where we may not look
        tags = [role.tags for role in roles.listed(names.INSTANCE_PREFIX)]
        found += (
            Leftover(ROLE, f"{GLOBAL}/{name}", None, "a role and its instance profile")
            for name in _left(tags, alive, now)
        )
    return found


def _expired(instances: list[Instance], now: float) -> Iterator[Leftover]:
    for each in instances:
        if _is_expired(each, now):
            since = status.rfc3339(each.expires_at or now)
            what = f"{each.instance_type}, {each.state}, expired at {since}"
            yield Leftover(INSTANCE, f"{each.region}/{each.name}", None, what)


def _is_expired(instance: Instance, now: float) -> bool:
    return instance.expires_at is not None and instance.expires_at < now


def _left(tags: Iterable[Mapping[str, str]], alive: set[str], now: float) -> Iterator[str]:
    """Yield the names of those things whose machine is not there, and will not come."""
    for each in tags:
        expires, created = names.expiry_of(each), each.get(names.CREATED)
        is_over = expires is not None and expires < now
        is_old = created is None or status.epoch_s(created) < now - MAKING_S
        name = each.get(names.INSTANCE)
        if name and name not in alive and (is_over or is_old):
            yield name
