"""What a machine runs when it boots: settings of its job, then templates/boot/aws.sh."""

from __future__ import annotations

import math
import shlex
from importlib import resources
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from llmcloud.providers.aws import names
from llmcloud.runtime import status
from llmcloud.runtime.machines.aws import AUTO_SCALING_VERSION, DOMAINS
from llmcloud.runtime.store import bucket_of

if TYPE_CHECKING:
    from llmcloud.core.provider import Launch

WORK, ENVIRONMENTS = "/opt/llmcloud/work", "/opt/llmcloud/environments"


def script(launch: Launch, bucket_region: str, *, group: str = "") -> str:
    """Return the user data of a job's machines; the same launch gives the same text.

    `group` is the name of what replaces machines that are taken away.
    """
    job = launch.job
    expires = names.expires_epoch_s(launch)
    arguments = ["--machine", "aws", "--store", job.store, "--job", job.id]
    arguments += ["--work", WORK, "--environments", ENVIRONMENTS]
    if group:
        arguments += ["--group", group]
    if expires is not None:
        arguments += ["--expires-epoch", f"{expires:.0f}"]
    settings = {
        "REGION": bucket_region,
        "BUCKET": bucket_url(job.store, bucket_region),
        "JOB": job.id,
        "RUNTIME": job.runtime,
        "MINUTES": _minutes(launch, expires),
        "ARGUMENTS": shlex.join(arguments),
        **_leave(launch, group),
    }
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    title = (
        "# Boots a node: brings its program with the machine's role, and ends the machine with it."
    )
    body = (resources.files("llmcloud.templates") / "boot" / "aws.sh").read_text()
    return f"#!/bin/bash\n{title}\n{lines}{body}"


def bucket_url(store: str, region: str) -> str:
    """Return the https URL of a store's bucket."""
    found = bucket_of(store)
    name = found[1] if found else ""
    domain = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    return f"https://{domain}/{name}" if "." in name else f"https://{name}.{domain}"


def _leave(launch: Launch, group: str) -> dict[str, str]:
    """Return what a machine that can't boot asks whom, so that no other comes for it, in vain."""
    if not group:
        return {"LEAVE": "", "SCALING": ""}
    asked = {
        "Action": "TerminateInstanceInAutoScalingGroup",
        "ShouldDecrementDesiredCapacity": "true",
        "Version": AUTO_SCALING_VERSION,
        "InstanceId": "",
    }
    region = launch.offer.region or ""
    domain = DOMAINS.get(region[:3], "amazonaws.com")
    return {"LEAVE": urlencode(asked), "SCALING": f"https://autoscaling.{region}.{domain}/"}


def _minutes(launch: Launch, expires_epoch_s: float | None) -> str:
    """Return how long a machine may be on, from its boot, whatever its node does."""
    if expires_epoch_s is None:
        return ""
    left_s = expires_epoch_s + names.EXPIRY_MARGIN_S - status.epoch_s(launch.at)
    return str(math.ceil(left_s / 60))
