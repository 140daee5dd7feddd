"""Machines by themselves that have expired, and what was made for some that are not there."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from llmcloud.core.instances import GLOBAL
from llmcloud.core.provider import Leftover
from llmcloud.providers.aws import instance_view, names
from llmcloud.providers.aws.network import Network, regions
from llmcloud.runtime import status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llmcloud.core.instances import Instance
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.roles import Roles

AT_ONCE = 16
MAKING_S = 900.0  # what is younger may be of a create that goes on
INSTANCE, GROUP, ROLE = "instance", "instance's group", "instance's role"
KINDS = {INSTANCE, GROUP, ROLE}
OURS = [{"Name": "tag-key", "Values": [names.INSTANCE]}]


def find(account: Account, roles: Roles) -> list[Leftover]:
    """Return what is left over in every region, and in IAM; `id` is its place and its name."""
    now = time.time()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        there = regions(account)
        filters = [*OURS, instance_view.NOT_ENDED]
        look = lambda region: [*instance_view.look(account, region, filters)]  # noqa: E731
        instances = dict(zip(there, pool.map(look, there), strict=True))
        groups = pool.map(lambda region: Network(account, region).groups(OURS), there)
        by_region = dict(zip(there, groups, strict=True))
    found: list[Leftover] = []
    for region in there:
        found += _expired(instances[region], now)
        alive = {each.name for each in instances[region]}
        found += (
            Leftover(GROUP, f"{region}/{name}", None, "a security group without its machine")
            for name in _left(by_region[region].values(), alive, now)
        )
    alive = {
        each.name
        for of_region in instances.values()
        for each in of_region
        if not _is_expired(each, now)
    }
    tags = [role.tags for role in roles.listed(names.INSTANCE_PREFIX)]
    return [
        *found,
        *(
            Leftover(ROLE, f"{GLOBAL}/{name}", None, "a role and its instance profile")
            for name in _left(tags, alive, now)
        ),
    ]


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
