"""The commands that tests kill: what each works on, and what must have come of it at the end."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tests.e2e.aws.conftest import BUCKET, REGION
from tests.e2e.conftest import eventually

from llmcloud.runtime import layout

if TYPE_CHECKING:
    from tests.e2e.aws.conftest import Submitter

ENDED = ("succeeded", "failed", "lost", "cancelled")
OVER = ("terminated", "shutting-down")


class Victim:
    """A command; its subject is what it works on: a job file, a job, or a machine's name.

    `refusal` is how it exits when done again, where what was killed had done it already.
    """

    refusal: ClassVar[int] = 0

    def __init__(self, submitter: Submitter, more: str) -> None:
        self.submitter, self.more = submitter, more

    def begin(self) -> str:
        """Return a new subject, that becomes ready by itself."""
        raise NotImplementedError

    def await_ready(self, subject: str) -> None:
        """Wait until the command can work on a subject."""

    def argv(self, subject: str) -> list[str]:
        raise NotImplementedError

    def keys(self, subject: str) -> str:
        """Return how the keys begin of what its machines read; empty where it gets none."""
        return ""

    def settle(self, subjects: list[str]) -> None:
        """End what goes on as the command was killed before it asked for anything."""

    def check(self, subject: str, *, again: bool) -> None:
        """Assert that all was done once, or, where it was not done again, at most once."""
        raise NotImplementedError

    def clean(self, subjects: list[str]) -> None:
        """End what is there to stay, and so no leftover."""

    def _submit(self, run: str) -> str:
        return self.submitter.submit(self._job(run))

    def _job(self, run: str) -> str:
        return self.submitter.job(f"k{uuid.uuid4().hex[:4]}", run, self.more)


class Submit(Victim):
    """Its subject is a job file."""

    refusal = 2

    def begin(self) -> str:
        return self._job("echo ran once")

    def argv(self, subject: str) -> list[str]:
        return ["submit", subject, "--detach"]

    def keys(self, subject: str) -> str:
        return f"jobs/{name_of(subject)}-"

    def check(self, subject: str, *, again: bool) -> None:
        found = jobs_of(self.submitter, subject)
        assert len(found) == 1 or not (found or again), (subject, found)
        for job in found:
            status = await_state(self.submitter, job, *ENDED)
            allowed = {"succeeded"} if again else {"succeeded", "lost"}
            assert (status["state"] in allowed, status["attempt"]) == (True, 1), (job, status)
            _check_runs(self.submitter, job, status, machines=1)


class Resume(Victim):
    """Its subject is a job whose first attempt has failed."""

    refusal = 2

    def begin(self) -> str:
        return self._submit("[ $LLMCLOUD_ATTEMPT = 1 ] && exit 3; echo ran once")

    def await_ready(self, subject: str) -> None:
        await_state(self.submitter, subject, "failed")
        machines = lambda: machines_of(self.submitter, subject)  # noqa: E731
        eventually(lambda: not any(machines().values()), f"the machine of {subject} is gone")

    def argv(self, subject: str) -> list[str]:
        return ["resume", subject, "--detach"]

    def keys(self, subject: str) -> str:
        return f"jobs/{subject}/"

    def check(self, subject: str, *, again: bool) -> None:
        status = await_state(self.submitter, subject, *ENDED)
        allowed = {"succeeded"} if again else {"succeeded", "lost", "failed"}
        assert status["state"] in allowed, (subject, status)
        _check_runs(self.submitter, subject, status, machines=2)


class Cancel(Victim):
    """Its subject is a job that runs."""

    def begin(self) -> str:
        return self._submit("sleep 1000")

    def await_ready(self, subject: str) -> None:
        await_state(self.submitter, subject, "running")

    def argv(self, subject: str) -> list[str]:
        return ["cancel", subject]

    def settle(self, subjects: list[str]) -> None:
        s3 = self.submitter.client("s3")
        for subject in subjects:
            asked = s3.list_objects_v2(Bucket=BUCKET, Prefix=layout.cancel(subject))
            if not asked["KeyCount"]:
                assert self.submitter.cli("cancel", subject).code == 0

    def check(self, subject: str, *, again: bool) -> None:
        assert await_state(self.submitter, subject, *ENDED)["state"] == "cancelled", subject


class Wait(Victim):
    """Its subject is a job that has ended, which it tidies up."""

    def begin(self) -> str:
        return self._submit("true")

    def await_ready(self, subject: str) -> None:
        await_state(self.submitter, subject, "succeeded")

    def argv(self, subject: str) -> list[str]:
        return ["wait", subject]

    def check(self, subject: str, *, again: bool) -> None:
        assert len(machines_of(self.submitter, subject)) == 1


class Create(Victim):
    """Its subject is the name of a machine by itself."""

    def begin(self) -> str:
        return f"box-{uuid.uuid4().hex[:6]}"

    def argv(self, subject: str) -> list[str]:
        own = ["--type", "m7i.large", "--region", REGION, "--yes"]
        return ["instances", "create", subject, *own]

    def check(self, subject: str, *, again: bool) -> None:
        assert list(tagged(self.submitter, "instance", subject).values()) == [True], subject

    def clean(self, subjects: list[str]) -> None:
        done = self.submitter.cli("instances", "delete", *subjects, "--yes")
        assert done.code == 0, done.err


class Delete(Create):
    """Its subject is a machine that is there."""

    refusal = 9

    def begin(self) -> str:
        name = super().begin()
        done = self.submitter.cli(*super().argv(name))
        assert done.code == 0, done.err
        return name

    def argv(self, subject: str) -> list[str]:
        return ["instances", "delete", subject, "--yes"]

    def check(self, subject: str, *, again: bool) -> None:
        assert list(tagged(self.submitter, "instance", subject).values()) == [False], subject

    def clean(self, subjects: list[str]) -> None:
        pass


def name_of(path: str) -> str:
    return Path(path).read_text().split()[1]


def jobs_of(submitter: Submitter, path: str) -> list[str]:
    """Return the ids of all jobs that there are of a job file."""
    prefix = f"jobs/{name_of(path)}-"
    found = submitter.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return sorted({each["Key"].split("/")[1] for each in found.get("Contents", ())})


def await_state(submitter: Submitter, job: str, *states: str) -> dict[str, Any]:
    """Return the status as it lies in the store, once it is one of these: no command to start."""
    status = lambda: json.loads(submitter.object(layout.status(job)))  # noqa: E731
    eventually(lambda: status()["state"] in states, f"{job} is {states}")
    return dict(status())


def machines_of(submitter: Submitter, job: str) -> dict[str, bool]:
    """Return all machines that a job ever had, or training jobs, and whether each still is."""
    named = submitter.client("sagemaker").list_training_jobs(NameContains=f"llmcloud-{job}-")
    trainings = {
        each["TrainingJobName"]: each["TrainingJobStatus"] in {"InProgress", "Stopping"}
        for each in named["TrainingJobSummaries"]
    }
    return tagged(submitter, "job", job) | trainings


def tagged(submitter: Submitter, tag: str, value: str) -> dict[str, bool]:
    """Return all instances that ever had a tag of ours, and whether each still is."""
    own = [{"Name": f"tag:llmcloud:{tag}", "Values": [value]}]
    found = submitter.client("ec2").describe_instances(Filters=own)["Reservations"]
    return {
        machine["InstanceId"]: machine["State"]["Name"] not in OVER
        for each in found
        for machine in each["Instances"]
    }


def _check_runs(submitter: Submitter, job: str, status: dict[str, Any], machines: int) -> None:
    """Assert that a job which succeeded ran once, on the last of so many machines."""
    ran, had = submitter.log(job).count("ran once"), len(machines_of(submitter, job))
    is_done = status["state"] == "succeeded"
    assert (ran, had) == (1, machines) if is_done else ran == 0 and had <= machines, (job, ran, had)
