"""One host of a training job: what its container finds below /opt/ml and in its environment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tests.rig.aws import sagemaker_rules as rules
from tests.rig.aws import sagemaker_s3

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import IO

    from tests.rig.aws.sagemaker_job import TrainingJob

INTERFACE = "eth0"
CHECKPOINTS = "/opt/ml/checkpoints"
MADE = ("input/config", "input/data", "model", "output/data", "checkpoints", "code")


@dataclass(frozen=True)
class Host:
    """A host; `ml` is the folder that its container sees as /opt/ml, `number` counts from 1."""

    job: TrainingJob
    number: int
    group: str
    instance_type: str
    ml: Path

    @property
    def name(self) -> str:
        return f"algo-{self.number}"


@dataclass(frozen=True)
class Wanted:
    """A container to run for a host: its command, its whole environment, and who its peers are."""

    host: Host
    argv: Sequence[str]
    environ: Mapping[str, str]
    peers: Sequence[str]


class Container(Protocol):
    """What an executor started; `output` is its stdout and stderr together."""

    output: IO[bytes]

    def signal(self, number: int) -> None:
        """Send a signal to the command."""

    def kill(self) -> None:
        """End all of its processes."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""


class Executor(Protocol):
    """What runs containers; `lock` is to be held around moto."""

    lock: AbstractContextManager[object]

    def start(self, wanted: Sequence[Wanted]) -> list[Container]:
        """Start the containers of all hosts of a job."""


def hosts(job: TrainingJob, folder: Path) -> list[Host]:
    """Return the hosts of a job, numbered through its groups; each has a folder of its own."""
    kinds = [group for group in rules.groups(job.request) for _ in range(group["InstanceCount"])]
    return [
        Host(
            job,
            number,
            group["InstanceGroupName"],
            group["InstanceType"],
            folder / f"algo-{number}",
        )
        for number, group in enumerate(kinds, 1)
    ]


def lay_out(host: Host, all_hosts: Sequence[Host], s3: Any) -> None:
    """Make what the container finds below /opt/ml."""
    request = host.job.request
    for name in MADE:
        (host.ml / name).mkdir(parents=True, exist_ok=True)
    config = host.ml / "input" / "config"
    written = {
        "resourceconfig": _resources(host, all_hosts),
        "inputdataconfig": {each["ChannelName"]: _channel(each) for each in _channels(host)},
        "hyperparameters": request.get("HyperParameters", {}),
    }
    for name, content in written.items():
        (config / f"{name}.json").write_text(json.dumps(content))
    for channel in _channels(host):
        folder = host.ml / "input" / "data" / channel["ChannelName"]
        sagemaker_s3.fill(s3, channel["DataSource"]["S3DataSource"], folder)
    if checkpoints := request.get("CheckpointConfig"):
        sagemaker_s3.restore(s3, checkpoints["S3Uri"], host.ml / "checkpoints")


def command(request: dict[str, Any]) -> list[str]:
    """Return what a container runs: an image's own is called `train`."""
    algorithm = request["AlgorithmSpecification"]
    return [
        *algorithm.get("ContainerEntrypoint", ["train"]),
        *algorithm.get("ContainerArguments", ()),
    ]


def environ(job: TrainingJob) -> dict[str, str]:
    """Return a container's environment; no region is among it, as in the real one."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        **job.request.get("Environment", {}),
        "TRAINING_JOB_NAME": job.name,
        "TRAINING_JOB_ARN": job.arn,
    }


def _channels(host: Host) -> list[dict[str, Any]]:
    """Return the channels that a host's group gets."""
    return [
        channel
        for channel in host.job.request.get("InputDataConfig", ())
        if host.group
        in channel["DataSource"]["S3DataSource"].get("InstanceGroupNames", [host.group])
    ]


def _resources(host: Host, all_hosts: Sequence[Host]) -> dict[str, Any]:
    groups: dict[str, dict[str, Any]] = {}
    for each in all_hosts:
        group = {"instance_group_name": each.group, "instance_type": each.instance_type}
        groups.setdefault(each.group, {**group, "hosts": []})["hosts"].append(each.name)
    return {
        "current_host": host.name,
        "current_instance_type": host.instance_type,
        "current_group_name": host.group,
        "hosts": sorted(each.name for each in all_hosts),
        "instance_groups": list(groups.values()),
        "network_interface_name": INTERFACE,
    }


def _channel(channel: dict[str, Any]) -> dict[str, str]:
    source = channel["DataSource"]["S3DataSource"]
    told = {
        "TrainingInputMode": channel.get("InputMode", "File"),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    if kind := channel.get("ContentType"):
        told["ContentType"] = kind
    return told
