"""EC2 machines of a job: asked for, described, ended, with all that belongs to them."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from llmcloud.core.provider import Machine, MachineState, Printed, Request
from llmcloud.providers.aws import boot, machine_images, names, quotas, secrets
from llmcloud.providers.aws.ec2 import ENDED, instances
from llmcloud.providers.aws.errors import tolerated, translated
from llmcloud.providers.aws.groups import Groups
from llmcloud.providers.aws.machine_request import (
    Where,
    group_end,
    group_request,
    region_of,
    run,
    run_instances,
    spot_template,
    uses_rdma,
)
from llmcloud.providers.aws.network import Network, Subnet, subnet_in_plan
from llmcloud.providers.aws.roles import Roles
from llmcloud.runtime import status
from llmcloud.runtime.interruptible import begun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future

    from llmcloud.core.provider import Launch, Offer, Place
    from llmcloud.core.spec.models import JobSpec
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.identity import Identity
    from llmcloud.providers.aws.machine_images import Image

STATES = {
    "pending": MachineState.STARTING,
    "running": MachineState.RUNNING,
    "shutting-down": MachineState.GONE,
    "terminated": MachineState.GONE,
    "stopping": MachineState.GONE,
    "stopped": MachineState.GONE,
}
SPOT = "spot"
# By another version of this program, or for another person; and what is over already.
MADE_ALREADY = {"IdempotentParameterMismatch", "IdempotentInstanceTerminated"}


class Machines:
    """The EC2 machines of an account."""

    def __init__(self, account: Account, identity: Identity) -> None:
        self._account, self._identity = account, identity
        self._roles = Roles(account)
        self._begun: dict[tuple[str, ...], Future[Any]] = {}

    def zones(self, offer: Offer, nodes: int) -> list[str | None]:
        """Return the zones of an offer's region that have both its type and a subnet.

        A group of one machine looks for it in all zones by itself.
        """
        return [None] if offer.spot and nodes == 1 else list(self._subnets(offer).result())

    def prepare(self, spec: JobSpec, offer: Offer) -> None:
        """Begin to look up where and from what an offer's machines can be made."""
        self._subnets(offer)
        self._image(spec, offer)

    def _subnets(self, offer: Offer) -> Future[dict[str, Subnet]]:
        region, kind = region_of(offer), offer.instance_type
        network = Network(self._account, region)
        return self._once(("subnets", region, kind), lambda: network.having(kind))

    def _image(self, spec: JobSpec, offer: Offer) -> Future[Image]:
        region = region_of(offer)
        name = machine_images.wanted(spec.machine_groups()[0].machine.image, offer)
        find = functools.partial(machine_images.find, self._account, region, name)
        return self._once(("image", region, name), find)

    def _once(self, key: tuple[str, ...], find: Callable[[], Any]) -> Future[Any]:
        """Begin to look something up, unless that was begun before, and has not failed."""
        before = self._begun.get(key)
        if before is None or (before.done() and before.exception()):
            self._begun[key] = begun(find)
        return self._begun[key]

    def requests(self, launch: Launch, spec: JobSpec) -> list[Request]:
        """Return what a launch asks for, but for what only the account knows."""
        offer, name = launch.offer, names.of_job(launch.job.id)
        image = machine_images.wanted(spec.machine_groups()[0].machine.image, offer)
        where = Where(
            image=machine_images.in_plan(image),
            root_device="/dev/sda1",
            root_gib=0,
            subnets=(subnet_in_plan(region_of(offer)),),
            is_public=True,
            group=f"(the id of {name})",
            profile=name,
            placement=name if uses_rdma(spec, offer) else None,
            user_data=_user_data(launch, offer.region or ""),
            tags=names.tags(launch, "(whoever submits)"),
        )
        if not offer.spot:
            return [_request("ec2", "RunInstances", offer, run_instances(launch, spec, where))]
        asked = [
            ("ec2", "CreateLaunchTemplate", spot_template(launch, spec, where)),
            ("autoscaling", "CreateAutoScalingGroup", group_request(launch, where)),
            ("autoscaling", "PutScheduledUpdateGroupAction", group_end(launch)),
        ]
        return [_request(api, operation, offer, body) for api, operation, body in asked if body]

    def launch(self, launch: Launch, spec: JobSpec, bucket_region: str) -> list[Machine]:
        """Ask for all machines of a job: all of them or none; on spot, for what brings them back.

        Returns none where they come by themselves.
        """
        where = self._prepare(launch, spec, _user_data(launch, bucket_region))
        region = region_of(launch.offer)
        place = f"{launch.zone or region}, {launch.offer.instance_type}"
        told = translated(place, quota=quotas.to_raise(launch.offer, launch.job.task.nodes))
        with told, self._roles.used(where.profile, place):
            if launch.offer.spot:
                Groups(self._account, region).create(
                    spot_template(launch, spec, where),
                    group_request(launch, where),
                    group_end(launch),
                )
                return []
            with tolerated(MADE_ALREADY):
                asked = run_instances(launch, spec, where)
                made = run(self._ec2(region), asked, where.user_data)
                return [_described(each) for each in made]
        return self.describe(launch.place)

    def _prepare(self, launch: Launch, spec: JobSpec, user_data: str) -> Where:
        """Find or make what machines need, at the same time where they need it of each other."""
        job, offer, region = launch.job, launch.offer, region_of(launch.offer)
        tags = names.tags(launch, self._identity.caller.tag)
        network = Network(self._account, region)
        found, subnets = self._image(spec, offer), self._subnets(offer).result()
        chosen = [subnets[launch.zone]] if launch.zone else list(subnets.values())
        with ThreadPoolExecutor(5) as pool:
            kept = pool.submit(secrets.keep, self._account, region, job.id, launch.secrets)
            profile = pool.submit(self._identity.profile, job, tags)
            rdma = uses_rdma(spec, offer)
            group = pool.submit(network.group, job.id, chosen[0].vpc, tags, rdma=rdma)
            placement = None
            if rdma:
                placement = pool.submit(network.placement_group, job.id, tags)
            kept.result()
            image = found.result()
            return Where(
                image=image.id,
                root_device=image.root_device,
                root_gib=image.root_gib,
                subnets=tuple(each.id for each in chosen),
                is_public=any(each.is_public for each in chosen),
                group=group.result(),
                profile=profile.result(),
                placement=placement.result() if placement else None,
                user_data=user_data,
                tags=tags,
            )

    def describe(self, place: Place) -> list[Machine]:
        """Return what EC2 says of a job's machines, and those that are to replace lost ones.

        EC2 knows ended ones for an hour: those of earlier launches say nothing of this one.
        """
        said = self._instances(place)
        own = {each["InstanceId"] for each in said if _launch_of(each) == place.launch}
        every = sorted(map(_described, said), key=lambda each: each.rank)
        found = [each for each in every if each.id in own or not each.is_gone]
        if all(each.is_gone for each in found):
            return [*Groups(self._account, place.region or "").coming(place.job), *found]
        return found

    def printed(self, place: Place) -> Iterator[Printed]:
        """Yield what the machines that EC2 still knows wrote to their consoles."""
        for each in self._instances(place):
            with translated(f"{place.region}, console of {each['InstanceId']}"):
                said = self._ec2(place.region or "").get_console_output(
                    InstanceId=each["InstanceId"]
                )
            at_ms = int(said["Timestamp"].timestamp() * 1000)
            for line in said.get("Output", "").splitlines():
                yield Printed(each.get("AmiLaunchIndex", 0), at_ms, line)

    def withdraw(self, place: Place) -> None:
        """Take back a request for machines that have not come."""
        Groups(self._account, place.region or "").withdraw(place.job)

    def delete(self, place: Place) -> bool:
        """End a job's machines, then what they used; True once all of it is gone."""
        region = place.region or ""
        is_gone = Groups(self._account, region).delete(place.job)
        left = [each for each in self._instances(place) if each["State"]["Name"] != "terminated"]
        ending = [each["InstanceId"] for each in left if each["State"]["Name"] not in ENDED]
        if ending:
            with translated(f"{region}, {', '.join(ending)}"):
                self._ec2(region).terminate_instances(InstanceIds=ending)
        if left or not is_gone:
            return False
        secrets.forget(self._account, region, place.job)
        return Network(self._account, region).delete(place.job)

    def _instances(self, place: Place) -> list[dict[str, Any]]:
        return [*instances(self._account, place.region or "", names.job_filter(place.job))]

    def _ec2(self, region: str) -> Any:
        return self._account.client_of("ec2", region)


def _user_data(launch: Launch, bucket_region: str) -> str:
    group = names.of_job(launch.job.id) if launch.offer.spot else ""
    return boot.script(launch, bucket_region, group=group)


def _request(api: str, operation: str, offer: Offer, body: dict[str, Any]) -> Request:
    return Request(api, operation, {"region": offer.region}, body)


def _described(instance: Mapping[str, Any]) -> Machine:
    said = instance.get("StateReason", {}).get("Message", "")
    state = STATES.get(instance["State"]["Name"], MachineState.UNKNOWN)
    detail = said if state is MachineState.GONE else ""
    since = status.rfc3339(instance["LaunchTime"].timestamp())
    rank = instance.get("AmiLaunchIndex", 0)
    is_missed = instance.get("InstanceLifecycle") != SPOT  # which a group replaces
    return Machine(rank, instance["InstanceId"], state, detail, since, is_missed)


def _launch_of(instance: Mapping[str, Any]) -> int:
    return int(names.as_dict(instance.get("Tags")).get(names.LAUNCH, 1))
