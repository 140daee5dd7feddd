"""The provider `aws`: EC2 machines of a job's own, or SageMaker's training jobs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmcloud.core.errors import Problem
from llmcloud.core.job import Job
from llmcloud.core.provider import Compute, Launch, Request
from llmcloud.core.spec.task import task_of
from llmcloud.providers.aws import (
    doctor,
    instance_leftovers,
    leftovers,
    machine_images,
    offers,
    permissions,
    store,
)
from llmcloud.providers.aws.credentials import Account
from llmcloud.providers.aws.identity import Identity
from llmcloud.providers.aws.instances import AwsInstances
from llmcloud.providers.aws.machines import Machines
from llmcloud.providers.aws.names import LABELS
from llmcloud.providers.aws.training import Training
from llmcloud.runtime import status
from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.core.home import Home
    from llmcloud.core.provider import Finding, Leftover, Machine, Offer, Place, Printed
    from llmcloud.core.spec.models import JobSpec

LAUNCHERS = ("none", "torchrun", "tensorflow")
MANAGED = "managed"


def make(home: Home) -> Compute:
    """Return the provider; what the registry calls."""
    return Aws(home)


class Aws(Compute):
    """Machines and training jobs of one AWS account."""

    name: ClassVar[str] = "aws"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._account = Account()
        self._identity = Identity(self._account)
        self._made_at = status.now()
        self._regions: dict[str, str] = {}  # of stores, by URL
        self._seen: leftovers.Seen | None = None
        self._closed: tuple[str, ...] = ()

    @cached_property
    def _machines(self) -> Machines:
        return Machines(self._account, self._identity)

    @cached_property
    def _training(self) -> Training:
        return Training(self._account, self._identity)

    @cached_property
    def _instances(self) -> AwsInstances:
        return AwsInstances(self._account, self._identity)

    def refusals(self, spec: JobSpec) -> list[Problem]:
        too_many = spec.service != MANAGED and len(spec.labels) > LABELS
        asked = [
            ("labels", too_many, f"there is room for {LABELS} tags beside its own"),
            ("launcher", spec.launcher.name not in LAUNCHERS, f"it has {', '.join(LAUNCHERS)}"),
            ("store", not (spec.store or "s3://").startswith("s3://"), "its machines reach S3"),
        ]
        for number, source in enumerate(spec.data):
            scheme = source.source.partition("://")[0] if "://" in source.source else ""
            key = f"data.{number}"
            asked.append((f"{key}.source", scheme not in {"", "s3"}, "its machines reach S3"))
            is_mount = source.mode == "mount" and spec.service != MANAGED
            asked.append((f"{key}.mode", is_mount, "its machines copy what they train on"))
        for group in spec.machine_groups():
            if group.machine.image and spec.service != MANAGED:
                why = machine_images.refusal(group.machine.image)
                asked.append((f"{group.path}.image", bool(why), why or ""))
        found = [
            Problem(key, f"the provider aws can't honour this: {why}", hint=f"--set {key}=null")
            for key, is_asked, why in asked
            if is_asked
        ]
        if len({group.machine.image for group in spec.machine_groups()}) > 1:
            why = "the provider aws can't honour this: all machines of a job have one image"
            found.append(Problem("roles", why, hint="Name the same in each"))
        return found + (self._training.refusals(spec) if spec.service == MANAGED else [])

    def offers(self, spec: JobSpec) -> list[Offer]:
        found = offers.offers(spec)
        return self._training.offers(found) if spec.service == MANAGED else found

    def requests(self, job: str, spec: JobSpec, offer: Offer) -> list[Request]:
        launch = self._planned(job, spec, offer)
        if spec.service == MANAGED:
            asked = self._training.requests(launch, spec)
            return [Request("sagemaker", "CreateTrainingJob", {"region": offer.region}, asked)]
        return self._machines.requests(launch, spec)

    def store(self, offer: Offer) -> str:
        region = offer.region or self._account.region
        found = store.default(self._account, self._identity, region)
        self._regions[found] = region
        return found

    def prepare(self, spec: JobSpec, offer: Offer) -> None:
        if spec.service != MANAGED:
            self._machines.prepare(spec, offer)

    def zones(self, job: Job, offer: Offer) -> list[str | None]:
        if job.service == MANAGED:
            return [None]
        return self._machines.zones(offer, job.task.nodes)

    def launch(self, launch: Launch) -> list[Machine]:
        spec = _spec(launch.job)
        url = launch.job.store
        region = self._regions.get(url) or store.region(self._account, url)
        if launch.job.service == MANAGED:
            return self._training.launch(launch, spec, region)
        return self._machines.launch(launch, spec, region)

    def describe(self, place: Place) -> list[Machine]:
        machines = self._training if place.service == MANAGED else self._machines
        return machines.describe(place)

    def printed(self, place: Place) -> Iterator[Printed]:
        machines = self._training if place.service == MANAGED else self._machines
        return machines.printed(place)

    def withdraw(self, place: Place) -> None:
        if place.service != MANAGED:
            self._machines.withdraw(place)

    def delete(self, place: Place) -> bool:
        machines = self._training if place.service == MANAGED else self._machines
        if not machines.delete(place):
            return False
        self._identity.delete(place.job)
        return True

    def stores(self) -> list[str]:
        self._seen = leftovers.look(self._account, self._identity)
        return self._seen.stores

    def leftovers(self, live: frozenset[str], stores: frozenset[str]) -> list[Leftover]:
        # What was seen before the jobs were read: what came since is of a job that came since.
        seen, self._seen = self._seen, None
        seen = seen or leftovers.look(self._account, self._identity)
        self._closed = seen.closed
        return [*seen.of(stores, live=live), *self._instances.leftovers()]

    def closed(self) -> tuple[str, ...]:
        return self._closed

    def remove(self, leftover: Leftover) -> bool:
        if leftover.kind in instance_leftovers.KINDS:
            return self._instances.remove(leftover)
        return leftovers.remove(self._account, self._identity, leftover)

    def check(self, spec: JobSpec | None = None, *, mend: bool = False) -> list[Finding]:
        return doctor.check(self._account, self._identity, spec, mend=mend)

    def policy(self) -> dict[str, Any]:
        try:
            caller = self._identity.caller
        except Failure:  # whoever prints it may have no credentials yet
            return permissions.policy(permissions.Place("*"))
        return permissions.policy(permissions.Place(caller.account, caller.partition))

    def _planned(self, job: str, spec: JobSpec, offer: Offer) -> Launch:
        """Return a launch as it will be, but for what is not known before a submit."""
        planned = Job(
            id=job,
            name=spec.name,
            provider=self.name,
            service=spec.service,
            region=offer.region,
            store=spec.store or f"s3://llmcloud-account-{offer.region}",
            created_at=self._made_at,
            spec={"labels": dict(spec.labels)},
            spec_digest="(of the job file)",
            plan={},
            task=task_of(spec, job=job, code=None, data=()),
            runtime="(its digest)",
        )
        return Launch(planned, offer, 1, at=self._made_at)


def _spec(job: Job) -> JobSpec:
    from llmcloud.core.spec.models import JobSpec

    return JobSpec.model_validate(job.spec)
