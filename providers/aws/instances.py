"""EC2 machines by themselves, with what each has of its own: a closed group, a role, a timer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from llmcloud.core.instances import GLOBAL, Ask, Instance, Instances, InstanceState, Seen
from llmcloud.core.provider import Request
from llmcloud.providers.aws import (
    instance_leftovers,
    instance_request,
    instance_role,
    instance_view,
    machine_images,
    names,
    quotas,
    sessions,
)
from llmcloud.providers.aws.credentials import Account
from llmcloud.providers.aws.errors import tolerated, translated
from llmcloud.providers.aws.identity import Identity
from llmcloud.providers.aws.machine_request import Where, region_of, run
from llmcloud.providers.aws.machines import MADE_ALREADY
from llmcloud.providers.aws.network import (
    Network,
    Subnet,
    everywhere,
    in_regions,
    subnet_in_plan,
)
from llmcloud.providers.aws.roles import Roles
from llmcloud.runtime.errors import Failure, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.core.provider import Leftover, Offer

SEEN_AFTER_S = 120.0  # until when EC2 may not describe what it has made


def make() -> Instances:
    """Return them; what the registry calls."""
    account = Account()
    return AwsInstances(account, Identity(account))


class AwsInstances(Instances):
    """The machines by themselves of one AWS account."""

    provider: ClassVar[str] = "aws"

    def __init__(self, account: Account, identity: Identity) -> None:
        self._account, self._identity = account, identity
        self._roles = Roles(account)
        self._subnets: dict[str, dict[str, Subnet]] = {}
        self._groups: dict[tuple[str, str], str] = {}  # those that this process has made

    def look(self, *, with_jobs: bool = False) -> Seen:
        keys = [names.INSTANCE, *([names.JOB] if with_jobs else [])]
        filters = [{"Name": "tag-key", "Values": keys}, instance_view.NOT_ENDED]

        def within(region: str) -> list[Instance]:
            return [*instance_view.look(self._account, region, filters)]

        by_region = everywhere(self._account, within).values()
        failures = [each for each in by_region if isinstance(each, Failure)]
        if len(failures) == len(by_region):
            raise failures[0]
        found = [one for each in by_region if not isinstance(each, Failure) for one in each]
        return Seen(tuple(sorted(found, key=lambda one: one.created_at)), tuple(failures))

    def requests(self, ask: Ask) -> list[Request]:
        name, region = names.of_instance(ask.spec.name), region_of(ask.offer)
        image = machine_images.wanted(ask.spec.resources.image, ask.offer)
        where = Where(
            image=machine_images.in_plan(image),
            root_device="/dev/sda1",
            root_gib=0,
            subnets=(subnet_in_plan(region),),
            is_public=True,
            group=f"(the id of {name})",
            profile=name,
            placement=None,
            user_data=instance_request.user_data(ask),
            tags=names.instance_tags(ask, "(whoever creates it)"),
        )
        body = instance_request.run_instances(ask, where)
        return [Request("ec2", "RunInstances", {"region": region}, body)]

    def zones(self, offer: Offer) -> list[str | None]:
        region = region_of(offer)
        self._subnets[region] = Network(self._account, region).having(offer.instance_type)
        return list(self._subnets[region])

    def create(self, ask: Ask) -> Instance:
        region, name = region_of(ask.offer), ask.spec.name
        for found in instance_view.of_name(self._account, region, name):
            if found.is_there:
                return found
        where = self._prepare(ask)
        asked = instance_request.run_instances(ask, where)
        place = f"{ask.zone or region}, {ask.offer.instance_type}"
        told = translated(place, quota=quotas.to_raise(ask.offer, 1))
        with told, self._roles.used(where.profile, place), tolerated(MADE_ALREADY):
            (made,) = run(self._account.client_of("ec2", region), asked, where.user_data)
            return instance_view.described(made, region)
        raise _not_seen_yet(name, region)

    def describe(self, instance: Instance) -> Instance:
        filters = [{"Name": "instance-id", "Values": [instance.id]}]
        for found in instance_view.look(self._account, instance.region, filters):
            return found
        is_new = time.time() - instance.created_at < SEEN_AFTER_S
        return instance if is_new else replace(instance, state=InstanceState.ENDED)

    def is_reachable(self, instance: Instance) -> bool | None:
        return sessions.is_connected(self._account, instance)

    def connect(self, instance: Instance, command: str | None) -> int:
        return sessions.connect(self._account, instance, command)

    def withdraw(self, name: str, region: str) -> None:
        Network(self._account, region).delete_groups(names.instance_filter(name))
        self._groups.pop((region, name), None)

    def places(self, name: str) -> frozenset[str]:
        def is_in(region: str) -> bool:
            return bool(
                instance_view.of_name(self._account, region, name)
                or Network(self._account, region).groups(names.instance_filter(name))
            )

        found = {region for region, has in in_regions(self._account, is_in).items() if has}
        if self._roles.is_there(names.of_instance(name)):
            found.add(GLOBAL)
        return frozenset(found)

    def delete(self, name: str, places: frozenset[str]) -> bool:
        gone = [self._delete_in(each, name) for each in places - {GLOBAL}]
        is_gone = all(gone)
        if is_gone and GLOBAL in places:
            self._roles.delete(names.of_instance(name), instance_role.POLICY)
        return is_gone

    def leftovers(self) -> list[Leftover]:
        return instance_leftovers.find(self._account, self._roles)

    def remove(self, leftover: Leftover) -> bool:
        place, _, name = leftover.id.partition("/")
        return self.delete(name, frozenset({place}))

    def _delete_in(self, region: str, name: str) -> bool:
        """End what a region has of a name; True once it is gone."""
        found = instance_view.of_name(self._account, region, name)
        ids = [each.id for each in found if each.is_there]
        if ids:
            with translated(f"{region}, {', '.join(ids)}"):
                self._account.client_of("ec2", region).terminate_instances(InstanceIds=ids)
        self._groups.pop((region, name), None)
        network = Network(self._account, region)
        return not found and network.delete_groups(names.instance_filter(name))

    def _prepare(self, ask: Ask) -> Where:
        """Find or make what the machine needs, at the same time where it can be."""
        region, name = region_of(ask.offer), ask.spec.name
        tags = names.instance_tags(ask, self._identity.caller.tag)
        subnets = self._subnets.get(region) or Network(self._account, region).subnets()
        subnet = subnets[ask.zone] if ask.zone else next(iter(subnets.values()))
        wanted = machine_images.wanted(ask.spec.resources.image, ask.offer)
        with ThreadPoolExecutor(3) as pool:
            image = pool.submit(machine_images.find, self._account, region, wanted)
            profile = pool.submit(instance_role.profile, self._roles, name, tags)
            group = pool.submit(self._group, region, name, subnet.vpc, tags)
            found = image.result()
            return Where(
                image=found.id,
                root_device=found.root_device,
                root_gib=found.root_gib,
                subnets=(subnet.id,),
                is_public=subnet.is_public,
                group=group.result(),
                profile=profile.result(),
                placement=None,
                user_data=instance_request.user_data(ask),
                tags=tags,
            )

    def _group(self, region: str, name: str, vpc: str, tags: Mapping[str, str]) -> str:
        """Return a group that no machine has had: the token of the request is made of it.

        One that is there is of a create that was cut off, or of a machine that has ended. It can
        be deleted unless a machine has it, be it one that EC2 does not describe yet.
        """
        if (region, name) not in self._groups:
            network = Network(self._account, region)
            if not network.delete_groups(names.instance_filter(name)):
                raise _not_seen_yet(name, region)
            made = network.closed_group(names.of_instance(name), vpc, tags)
            self._groups[region, name] = made
        return self._groups[region, name]


def _not_seen_yet(name: str, region: str) -> Unavailable:
    return Unavailable(
        f"There is a machine {name} that has just been made, or is just ending.",
        where=region,
        fix="Try again in a minute; llmcloud instances list shows it.",
    )
