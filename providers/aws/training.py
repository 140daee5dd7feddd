"""SageMaker training jobs: made, described and ended; the nodes in them are ours as everywhere."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from llmcloud.core.provider import Leftover, Machine, MachineState, Printed
from llmcloud.providers.aws import names, quotas, secrets, training_images, training_request
from llmcloud.providers.aws.cloudwatch import JobLog
from llmcloud.providers.aws.codes import CODES
from llmcloud.providers.aws.errors import Refusal, failure, tolerated, translated
from llmcloud.providers.aws.roles import Roles
from llmcloud.providers.aws.training_request import Known, Settings, name_of
from llmcloud.runtime.errors import NoCapacity, QuotaExceeded
from llmcloud.runtime.store import split_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.core.errors import Problem
    from llmcloud.core.provider import Launch, Offer, Place
    from llmcloud.core.spec.models import JobSpec
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.identity import Identity

EXISTS = {"ResourceInUse"}
QUOTA = re.compile("service limit '([^']+)'")  # one code stands for many quotas
# What Describe and Stop answer where there is no such job, or none that could be stopped: their
# requests hold nothing but a name of ours, which is always a valid one.
NO_SUCH_JOB = {"ValidationException", "ResourceNotFound"}
ENDED = {"Completed", "Failed", "Stopped"}
STATES = {
    **dict.fromkeys(ENDED, MachineState.GONE),
    "Stopping": MachineState.RUNNING,
    "Deleting": MachineState.GONE,
}
IN_PROGRESS = "InProgress"
SECONDARY_STATES = {  # of jobs in progress; AWS may add others
    "Starting": MachineState.STARTING,
    "Pending": MachineState.STARTING,
    "Downloading": MachineState.STARTING,
    "LaunchingMLInstances": MachineState.STARTING,
    "PreparingTrainingStack": MachineState.STARTING,
    "DownloadingTrainingImage": MachineState.STARTING,
    "Interrupted": MachineState.STARTING,
    "Restarting": MachineState.STARTING,
    "Training": MachineState.RUNNING,
    "Uploading": MachineState.RUNNING,
    "Updating": MachineState.RUNNING,
    "Stopping": MachineState.RUNNING,
}
KIND = "training job"
LEAVE_S = 30.0  # for a node whose job has ended to be gone
NO_ACCOUNT = "000000000000"  # stands for the account where that is not known yet


class Training:
    """The training jobs of an account."""

    def __init__(self, account: Account, identity: Identity, leave_s: float = LEAVE_S) -> None:
        self._account, self._identity, self._leave_s = account, identity, leave_s
        self._leaving_since_s: dict[str, float] = {}

    def refusals(self, spec: JobSpec) -> list[Problem]:
        """Return the options of a spec that a training job can't have, by name."""
        return training_request.refusals(spec)

    def offers(self, found: list[Offer]) -> list[Offer]:
        """Return those of EC2's offers that training jobs can have; NoCapacity if none.

        The prices are EC2's: SageMaker's own are not in the catalog.
        """
        known = [offer for offer in found if offer.instance_type in training_images.types()]
        if not known:
            types = ", ".join(dict.fromkeys(offer.instance_type for offer in found))
            fix = "Choose another type (llmcloud accelerators), or set service: vm."
            raise NoCapacity(f"SageMaker does not train on {types}.", where="service", fix=fix)
        return known

    def requests(self, launch: Launch, spec: JobSpec) -> dict[str, Any]:
        """Return CreateTrainingJob as it will be, but for what only the account knows."""
        job = launch.job
        sources = [each.source for each in job.task.data] or [
            each.source if "://" in each.source else "data/(its digest)/" for each in spec.data
        ]
        role = f"arn:aws:iam::{NO_ACCOUNT}:role/{names.of_job(job.id)}"
        known = Known(role, sources, "whoever submits", Settings.from_environ())
        return training_request.request(launch, spec, known)

    def launch(self, launch: Launch, spec: JobSpec, bucket_region: str) -> list[Machine]:
        """Ask for a job's hosts, or find that they were asked for."""
        where = f"{launch.offer.region}, ml.{launch.offer.instance_type}"
        self._expect_possible(launch.offer, spec, bucket_region, where)
        owner = self._identity.caller.tag
        role = self._identity.role(launch.job, names.tags(launch, owner))
        arn = self._identity.role_arn(role)
        secrets.keep(self._account, launch.offer.region or "", launch.job.id, launch.secrets)
        sources = list(self._sources(launch))
        known = Known(arn, sources, owner, Settings.from_environ())
        asked = training_request.request(launch, spec, known)
        told = translated(where, quota=quotas.to_raise(launch.offer, launch.job.task.nodes))
        waiting = Roles(self._account).used(role, where, has_profile=False)
        try:
            with told, waiting, tolerated(EXISTS):
                self._client(launch.offer.region).create_training_job(**asked)
        except QuotaExceeded as refusal:
            _name_quota(refusal, launch.offer)
            raise
        found = self._found(launch.place)
        if found is not None and found["TrainingJobStatus"] == "Failed":
            _expect_some(found, where)
        return _described(found, launch.place)

    def describe(self, place: Place) -> list[Machine]:
        """Return the hosts of a job, all in the state that the service says the job is in."""
        return _described(self._found(place), place)

    def printed(self, place: Place) -> Iterator[Printed]:
        """Yield what the containers of a job printed, by the ranks of their hosts."""
        name = name_of(place.job, place.launch)
        logs = self._account.client_of("logs", place.region or "")
        for event in JobLog(logs, name).poll():
            yield Printed(event.host, event.ts_ms, event.line)

    def delete(self, place: Place) -> bool:
        """End a job; True once it has ended, which is when it costs nothing more.

        Containers that run are given time to end by themselves: the service then says how.
        """
        found = self._found(place)
        if found is None or found["TrainingJobStatus"] in ENDED:
            secrets.forget(self._account, place.region or "", place.job)
            return True
        name, secondary = found["TrainingJobName"], found.get("SecondaryStatus")
        since_s = self._leaving_since_s.setdefault(name, time.monotonic())
        is_leaving = secondary == "Training" and time.monotonic() - since_s < self._leave_s
        is_asked = found["TrainingJobStatus"] != IN_PROGRESS or secondary == "Uploading"
        if not is_asked and not is_leaving:
            self._stop(place.region or "", name)
        return False

    def left(self, region: str) -> Iterator[tuple[Leftover, dict[str, str]]]:
        """Yield the training jobs of ours that still cost something in a region, and their tags."""
        sagemaker = self._client(region)
        asked = {"NameContains": names.PREFIX.rstrip("-"), "StatusEquals": IN_PROGRESS}
        with translated(f"{region}, training jobs"):
            for page in sagemaker.get_paginator("list_training_jobs").paginate(**asked):
                for each in page["TrainingJobSummaries"]:
                    said = sagemaker.list_tags(ResourceArn=each["TrainingJobArn"])["Tags"]
                    tags = names.as_dict(said)
                    if names.JOB in tags:
                        name = f"{region}/{each['TrainingJobName']}"
                        yield Leftover(KIND, name, tags[names.JOB], IN_PROGRESS), tags

    def end(self, leftover: Leftover) -> bool:
        """End a training job that `left` yielded; True once it has ended."""
        region, _, name = leftover.id.partition("/")
        found = self._describe(region, name)
        if found is None or found["TrainingJobStatus"] in ENDED:
            return True
        if found["TrainingJobStatus"] == IN_PROGRESS:
            self._stop(region, name)
        return False

    def _stop(self, region: str, name: str) -> None:
        with translated(f"{region}, {name}"), tolerated(NO_SUCH_JOB):  # it has just ended
            self._client(region).stop_training_job(TrainingJobName=name)

    def _expect_possible(self, offer: Offer, spec: JobSpec, bucket_region: str, where: str) -> None:
        """Raise NoCapacity for an offer that can't be used; another one may be."""
        image = spec.machine_groups()[0].machine.image
        if why := training_images.lacking(image, offer):
            fix = "Name an image of your own with resources.image, or another region."
            raise NoCapacity(f"{why}.", where=where, fix=fix)
        if bucket_region != offer.region:
            raise NoCapacity(
                f"The store lies in {bucket_region}: training jobs read from their own region.",
                where=where,
                fix=f"Set region: {bucket_region}, or a store in {offer.region}.",
            )

    def _sources(self, launch: Launch) -> Iterator[str]:
        """Yield the data sources; one that names no object is a folder, and ends in `/`."""
        region = launch.offer.region or ""
        for source in (each.source for each in launch.job.task.data):
            is_open = "://" in source and not source.endswith("/")
            yield source if not is_open or self._is_object(region, source) else f"{source}/"

    def _is_object(self, region: str, url: str) -> bool:
        bucket, key = split_bucket("s3", url.removeprefix("s3://"))
        if not key:
            return False
        with translated(url), tolerated({"404", "NoSuchKey"}):
            self._account.client(region).head_object(Bucket=bucket, Key=key)
            return True
        return False

    def _found(self, place: Place) -> dict[str, Any] | None:
        return self._describe(place.region or "", name_of(place.job, place.launch))

    def _describe(self, region: str, name: str) -> dict[str, Any] | None:
        """Return what the service says of a training job, None if it knows of none."""
        with translated(f"{region}, {name}"), tolerated(NO_SUCH_JOB):
            found: dict[str, Any] = self._client(region).describe_training_job(TrainingJobName=name)
            return found
        return None

    def _client(self, region: str | None) -> Any:
        return self._account.client_of("sagemaker", region or "")


def _name_quota(refusal: QuotaExceeded, offer: Offer) -> None:
    """Tell how to raise the quota that the service names, where that is not the type's own."""
    named = QUOTA.search(refusal.what)
    if named and named[1] != quotas.for_offer(offer).name:
        at = quotas.console(offer.region or "", quotas.SAGEMAKER)
        refusal.fix = (
            f"Raise {named[1]} at {at}, or ask for less: disk, nodes, limits.max_duration."
        )


def _expect_some(found: dict[str, Any], where: str) -> None:
    """Raise NoCapacity or QuotaExceeded for a job that has failed as nothing was there for it."""
    kind, _, said = found.get("FailureReason", "").partition(": ")
    if kind in CODES and issubclass(CODES[kind].kind, (NoCapacity, QuotaExceeded)):
        raise failure(Refusal(kind, "", "SageMaker", message=said), where)


def _described(found: dict[str, Any] | None, place: Place) -> list[Machine]:
    if found is None:
        return []
    state, detail, name = _state(found), _detail(found), found["TrainingJobName"]
    return [Machine(rank, name, state, detail) for rank in range(place.nodes)]


def _state(found: dict[str, Any]) -> MachineState:
    status = found["TrainingJobStatus"]
    if status == IN_PROGRESS:
        return SECONDARY_STATES.get(found.get("SecondaryStatus", ""), MachineState.UNKNOWN)
    return STATES.get(status, MachineState.UNKNOWN)


def _detail(found: dict[str, Any]) -> str:
    """Return why a job failed, or what the service is doing in its own words."""
    if reason := found.get("FailureReason"):
        return str(reason)
    secondary = str(found.get("SecondaryStatus", ""))
    return secondary if secondary != found["TrainingJobStatus"] else ""
