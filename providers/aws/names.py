"""What things of a job are called at AWS, and the tags that they bear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmcloud.runtime import status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.core.instances import Ask
    from llmcloud.core.provider import Launch

PREFIX = "llmcloud-"
TAG = "llmcloud:"
JOB, STORE, EXPIRES = f"{TAG}job", f"{TAG}store", f"{TAG}expires"
LAUNCH = f"{TAG}launch"
INSTANCE, CREATED, OWNER = f"{TAG}instance", f"{TAG}created", f"{TAG}owner"
INSTANCE_PREFIX = f"{PREFIX}instance."  # no job's name has a dot
NEVER = "never"
LABELS = 50 - 8  # tags beside ours that there is room for
SUBNETS = "LLMCLOUD_AWS_SUBNETS"  # the variable that names an account's own, for all machines
KMS_KEY = "LLMCLOUD_AWS_KMS_KEY"  # the variable that names the key of training jobs
EXPIRY_MARGIN_S = 900.0  # a job ends itself at its limit; its machine is ended a little later


def of_job(job: str) -> str:
    """Return the name of all that a job has one of: group, role, profile, template."""
    return PREFIX + job


def job_of(name: str) -> str:
    """Return the job that a name of ours is of."""
    return name.removeprefix(PREFIX)


def expires_epoch_s(launch: Launch) -> float | None:
    """Return when a job of this launch runs into its limit; None without one."""
    limit_s = launch.job.task.max_duration_s
    return None if limit_s is None else status.epoch_s(launch.at) + limit_s


def tags(launch: Launch, owner: str) -> dict[str, str]:
    """Return the tags of all that a launch makes."""
    job, expires = launch.job, expires_epoch_s(launch)
    labels: Mapping[str, str] = job.spec.get("labels") or {}
    return {
        **_named(of_job(job.id), labels),
        JOB: job.id,
        f"{TAG}attempt": str(launch.attempt),
        LAUNCH: str(launch.number),
        EXPIRES: NEVER if expires is None else status.rfc3339(expires + EXPIRY_MARGIN_S),
        OWNER: owner,
        f"{TAG}spec": job.spec_digest,
        STORE: job.store,
    }


def of_instance(name: str) -> str:
    """Return the name of all that a machine by itself has one of: group, role, profile."""
    return INSTANCE_PREFIX + name


def instance_tags(ask: Ask, owner: str) -> dict[str, str]:
    """Return the tags of all that is made for a machine by itself."""
    expires = ask.expires_epoch_s
    return {
        **_named(of_instance(ask.spec.name), ask.spec.labels),
        INSTANCE: ask.spec.name,
        CREATED: ask.at,
        EXPIRES: NEVER if expires is None else status.rfc3339(expires),
        OWNER: owner,
    }


def _named(name: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels, and the tag that consoles show: for IAM, a label `name` is the same."""
    return dict(labels) if "name" in labels else {**labels, "Name": name}


def expiry_of(tags: Mapping[str, str]) -> float | None:
    """Return when what bears these tags expires, in seconds since the epoch; None is never."""
    written = tags.get(EXPIRES, NEVER)
    return None if written == NEVER else status.epoch_s(written)


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as most services take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def as_dict(tags: list[dict[str, Any]] | None) -> dict[str, str]:
    """Return tags as most services give them, by their keys."""
    return {each["Key"]: each["Value"] for each in tags or ()}


def job_filter(job: str) -> list[dict[str, Any]]:
    """Return what EC2 finds the things of a job by."""
    return [{"Name": f"tag:{JOB}", "Values": [job]}]


def instance_filter(name: str) -> list[dict[str, Any]]:
    """Return what EC2 finds the things of a machine by itself by."""
    return [{"Name": f"tag:{INSTANCE}", "Values": [name]}]
