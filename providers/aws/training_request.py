"""CreateTrainingJob for a job, as a value: what of its file goes where, and what can't."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from llmcloud.core.errors import Problem
from llmcloud.providers.aws import names, training_images
from llmcloud.providers.aws.machine_request import disk_gib
from llmcloud.providers.aws.names import KMS_KEY, SUBNETS
from llmcloud.runtime import layout
from llmcloud.runtime.errors import InvalidRequest
from llmcloud.runtime.machines.sagemaker import CHANNEL, ML

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Launch, Offer
    from llmcloud.core.spec.models import JobSpec

# On the host's large disk: docs.aws.amazon.com/sagemaker/latest/dg/model-train-storage.html.
SCRATCH = PurePosixPath("/tmp/llmcloud")  # noqa: S108  the container is the job's alone
SECURITY_GROUPS = "LLMCLOUD_AWS_SECURITY_GROUPS"
OWN_CHANNEL = "llmcloud"
SERVICE = "sagemaker"  # the part of a job's prefix that the service writes
CHANNELS = 20
HYPERPARAMETERS, NAME_CHARACTERS, VALUE_CHARACTERS = 100, 256, 2500
VARIABLES, VARIABLE_CHARACTERS = 100 - 1, 512  # one is ours
TRIES = 30
LONGEST_S = 28 * 24 * 3600
# Where the job file says nothing: the quota that accounts have for the longest run,
# docs.aws.amazon.com/general/latest/gr/sagemaker.html, as read in November 2026.
USUAL_LONGEST_S = 5 * 24 * 3600
MOST_DISK_GIB = 100  # unless asked: smaller types have little more, and may not be asked for more
MODES = {"copy": "File", "mount": "FastFile"}


@dataclass(frozen=True)
class Settings:
    """What of an account's own things training jobs use: a network, a key for what they write."""

    subnets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    key: str = ""

    @classmethod
    def from_environ(cls) -> Settings:
        """Read the user's variables; InvalidRequest for half a network, or a key's alias."""
        subnets, groups = (
            tuple(filter(None, map(str.strip, os.environ.get(name, "").split(","))))
            for name in (SUBNETS, SECURITY_GROUPS)
        )
        if bool(subnets) != bool(groups):
            raise InvalidRequest(
                "Training jobs take a network as subnets and security groups, not one of them.",
                where=f"{SUBNETS}, {SECURITY_GROUPS}",
                fix="Set both to lists separated by commas, or unset both.",
            )
        key = os.environ.get(KMS_KEY, "")
        if "alias/" in key:
            raise InvalidRequest(
                "SageMaker takes no alias of a key for disks.",
                where=KMS_KEY,
                fix="Set it to the key's ARN or id.",
            )
        return cls(subnets, groups, key)


@dataclass(frozen=True)
class Known:
    """What only the account knows: the role's ARN, where each data source lies, the owner."""

    role: str
    sources: Sequence[str]
    owner: str
    settings: Settings = Settings()


def name_of(job: str, launch: int) -> str:
    """Return the name of a job's training job: its key, in one region."""
    return f"{names.of_job(job)}-{launch}"


def refusals(spec: JobSpec) -> list[Problem]:
    """Return what of a job file a training job can't have."""
    return [
        Problem(key, f"SageMaker can't honour this: {why}", hint=hint)
        for key, why, hint in _refused(spec)
    ]


def request(launch: Launch, spec: JobSpec, known: Known) -> dict[str, Any]:
    """Return the parameters of CreateTrainingJob."""
    job, offer = launch.job, launch.offer
    own = f"{job.store}/{layout.job(job.id)}{SERVICE}"
    made: dict[str, Any] = {
        "TrainingJobName": name_of(job.id, launch.number),
        "AlgorithmSpecification": {
            "TrainingImage": training_images.url(_image(spec), offer),
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/sh", "-ec", _start()],
            "ContainerArguments": _arguments(launch),
        },
        "RoleArn": known.role,
        "InputDataConfig": [
            _channel(OWN_CHANNEL, f"{job.store}/{layout.runtime(job.runtime)}", "File"),
            *_data(job, spec, known.sources),
        ],
        "OutputDataConfig": {"S3OutputPath": f"{own}/output", "CompressionType": "NONE"},
        "ResourceConfig": {
            **_machines(spec, offer),
            "VolumeSizeInGB": _disk(spec, offer),
        },
        "StoppingCondition": _limits(spec, is_spot=offer.spot),
        "CheckpointConfig": {
            "S3Uri": f"{own}/checkpoints",
            "LocalPath": str(ML / "checkpoints"),
        },
        "Environment": {**spec.env, "AWS_REGION": offer.region or ""},
        "EnableManagedSpotTraining": offer.spot,
        "Tags": names.as_list(_tags(launch, known.owner)),
    }
    if spec.hyperparameters:
        given = {name: _text(value) for name, value in spec.hyperparameters.items()}
        made["HyperParameters"] = given
    if spec.limits.retries:
        tries = min(spec.limits.retries, TRIES)
        made["RetryStrategy"] = {"MaximumRetryAttempts": tries}
    return _set(made, known.settings, offer)


def _tags(launch: Launch, owner: str) -> dict[str, str]:
    """Return the tags; here their values have no brackets, which stand around what is unknown."""
    found = names.tags(launch, owner)
    return {name: value.translate(str.maketrans("", "", "()")) for name, value in found.items()}


def _set(made: dict[str, Any], settings: Settings, offer: Offer) -> dict[str, Any]:
    if settings.subnets:
        made["VpcConfig"] = {
            "Subnets": list(settings.subnets),
            "SecurityGroupIds": list(settings.groups),
        }
    if settings.key:
        made["OutputDataConfig"]["KmsKeyId"] = settings.key
        if not offer.accelerators:  # most others have disks of their own, which take no key
            made["ResourceConfig"]["VolumeKmsKeyId"] = settings.key
    return made


def _machines(spec: JobSpec, offer: Offer) -> dict[str, Any]:
    """Return the hosts: in groups by role, where there are roles."""
    kind = f"ml.{offer.instance_type}"
    groups = spec.machine_groups()
    if len(groups) == 1:
        return {"InstanceType": kind, "InstanceCount": groups[0].count}
    return {
        "InstanceGroups": [
            {
                "InstanceGroupName": group.path.rpartition(".")[2],
                "InstanceType": kind,
                "InstanceCount": group.count,
            }
            for group in groups
        ]
    }


def _disk(spec: JobSpec, offer: Offer) -> int:
    asked = any(group.machine.disk for group in spec.machine_groups())
    size = disk_gib(spec, offer, 0)
    return size if asked else min(size, MOST_DISK_GIB)


def _limits(spec: JobSpec, *, is_spot: bool) -> dict[str, int]:
    """Return when the service ends the job: a little later than the job would itself."""
    limit = spec.limits.max_duration
    longest = USUAL_LONGEST_S
    if limit:
        most = USUAL_LONGEST_S if limit.seconds <= USUAL_LONGEST_S else LONGEST_S
        longest = min(int(limit.seconds + names.EXPIRY_MARGIN_S), most)
    waits = {"MaxWaitTimeInSeconds": longest} if is_spot else {}
    return {"MaxRuntimeInSeconds": longest, **waits}


def _data(job: Job, spec: JobSpec, sources: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, (data, source) in enumerate(zip(spec.data, sources, strict=True)):
        url = source if "://" in source else f"{job.store}/{source}"
        yield _channel(CHANNEL.format(number=number), url, MODES[data.mode])


def _channel(name: str, url: str, mode: str) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": url,
        "S3DataDistributionType": "FullyReplicated",
    }
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": mode}


def _start() -> str:
    """Return what the container runs, for which an argument has 256 characters."""
    found = resources.files("llmcloud.templates") / "boot" / "sagemaker.sh"
    return found.read_text().strip()


def _arguments(launch: Launch) -> list[str]:
    job, expires = launch.job, names.expires_epoch_s(launch)
    made = [job.runtime, "--machine", "sagemaker", "--store", job.store, "--job", job.id]
    made += ["--work", str(SCRATCH / "work"), "--environments", str(SCRATCH / "environments")]
    return made if expires is None else [*made, "--expires-epoch", f"{expires:.0f}"]


def _refused(spec: JobSpec) -> Iterator[tuple[str, str, str]]:
    """Yield the key, the reason and the way out of each thing that can't be."""
    for group in spec.machine_groups():
        if group.machine.image and (why := training_images.refusal(group.machine.image)):
            yield f"{group.path}.image", why, f"--set {group.path}.image=null"
    if len(spec.data) >= CHANNELS:
        why = f"it has {CHANNELS - 1} channels for data, the job names {len(spec.data)}"
        yield "data", why, "Bring several together with llmcloud data push"
    limit = spec.limits.max_duration
    if limit and limit.seconds > LONGEST_S:
        hint = f"At most {LONGEST_S // 3600}h"
        yield "limits.max_duration", "a training job runs for 28 days at the most", hint
    if len(spec.labels) > names.LABELS:
        yield "labels", f"there is room for {names.LABELS} tags beside ours", "Leave some out"
    given = {name: _text(value) for name, value in spec.hyperparameters.items()}
    for name in (name for name, value in given.items() if "\n" in value or "\r" in value):
        yield f"hyperparameters.{name}", "it has one line", "Put it into a file of the code, or env"
    yield from _too_much(
        "hyperparameters", given, (HYPERPARAMETERS, NAME_CHARACTERS, VALUE_CHARACTERS)
    )
    yield from _too_much("env", spec.env, (VARIABLES, VARIABLE_CHARACTERS, VARIABLE_CHARACTERS))


def _too_much(
    key: str, given: Mapping[str, str], most: tuple[int, int, int]
) -> Iterator[tuple[str, str, str]]:
    count, name_characters, characters = most
    if len(given) > count:
        yield key, f"it takes {count}, the job has {len(given)}", "Put them into a file of the code"
    for name, value in given.items():
        if len(name) > name_characters:
            yield key, f"the name {name[:40]}… is longer than {name_characters}", "Shorten it"
        if len(value) > characters:
            why = f"a value has at most {characters} characters, this one {len(value)}"
            yield f"{key}.{name}", why, "Put it into a file of the code"


def _image(spec: JobSpec) -> str | None:
    return spec.machine_groups()[0].machine.image


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
