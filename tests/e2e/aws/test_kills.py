"""kill -9 of the command line at any request: one job comes of it, or none, and nothing is left.

By default at requests that change something, once they are done but not answered: until the next
such one all looks the same to AWS. A test takes every other of them, and those that launch; on
spot, those that are other than on demand. LLMCLOUD_KILLS=all: at each request, before and after.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.aws.conftest import BUCKET
from tests.e2e.conftest import eventually
from tests.rig.aws.faults import SESSION

from llmcloud.runtime import layout

if TYPE_CHECKING:
    import subprocess

    from tests.e2e.aws.conftest import Submitter

ALL = os.environ.get("LLMCLOUD_KILLS") == "all"
READS = ("Get", "Head", "Describe", "List")
SPOT = "resources: {spot: true}\n"
pytestmark = pytest.mark.timeout(3600 if ALL else 180)
MARKETS = pytest.mark.parametrize("market", ["", SPOT], ids=["on-demand", "spot"])
LAUNCHES = "RunInstances"
OF_SPOT = ("LaunchTemplate", "AutoScalingGroup")
HELD_POLL_S = 0.5
RUNTIME = ".pyz"
FRESH = ("eu-north-1", "eu-central-1", "ap-south-1", "ca-central-1", "us-east-2", "eu-west-1")


@dataclass(frozen=True)
class Boundary:
    """One of a command's requests: the `skip`-th of those that it makes of a kind, from 0."""

    skip: int
    after: bool
    service: str = ""
    operation: str = ""
    place: str = ""  # what the key of an object contains

    @property
    def rule(self) -> dict[str, Any]:
        own = {"service": self.service, "operation": self.operation, "key": self.place}
        return {**own, "skip": self.skip, "after": self.after, "hold": True, "machine": False}


@MARKETS
def test_a_submit_killed_at_any_request_and_done_again_is_one_job(
    submitter: Submitter, market: str
) -> None:
    """The same submit carries on, or says that the job is at work; then `gc` finds the rest."""
    jobs = []
    for boundary in _boundaries(submitter, _submit(submitter, market), market, 0):
        path = submitter.job(f"k{uuid.uuid4().hex[:4]}", "echo ran once", market)
        _hold_machines(submitter, path)
        child = submitter.start("submit", path, "--detach")
        is_killed = _killed_at(submitter, child, boundary)
        assert is_killed or ALL, boundary
        _hold_machines(submitter, path)  # those that there are stay as they are
        done = submitter.cli("submit", path, "--detach")
        (job,) = _jobs(submitter, path)
        if done.code:
            assert (done.code, job in done.err) == (2, True), (boundary, done.err)
        jobs.append(job)
        submitter.rig.cloud.faults.clear()
    for job in jobs:
        found = _ended(submitter, job)
        assert (found["state"], found["attempt"]) == ("succeeded", 1), (job, found)
        assert submitter.log(job).count("ran once") == 1, job
        assert len(_machines_of(submitter, job)) == 1, job
    _collect(submitter)


def test_a_submit_killed_while_it_makes_the_store_goes_on(submitter: Submitter) -> None:
    """Each time in another region, which has no bucket yet."""
    regions = iter(FRESH)
    since = _count(submitter)
    jobs = [submitter.submit(submitter.job("whole", "true"), "--set", f"region={next(regions)}")]
    own = submitter.rig.cloud.faults.journal[since:]
    made = [
        Boundary(0, True, "s3", each["operation"])
        for each in own
        if each["service"] == "s3" and not each["key"] and not each["operation"].startswith(READS)
    ]
    assert made[0].operation == "CreateBucket"
    for boundary, region in zip(made, regions, strict=False):
        path = submitter.job(f"k{uuid.uuid4().hex[:4]}", "true")
        child = submitter.start("submit", path, "--detach", "--set", f"region={region}")
        assert _killed_at(submitter, child, boundary), boundary
        submitter.rig.cloud.faults.clear()
        jobs.append(submitter.submit(path, "--set", f"region={region}"))
    for job in jobs:
        assert submitter.cli("wait", job).code == 0
    assert submitter.left() == {}


@MARKETS
def test_a_submit_killed_at_any_request_is_forgotten_by_gc(
    submitter: Submitter, market: str
) -> None:
    """What was asked for and never came is taken back; a machine that came does its job."""
    paths = []
    for boundary in _boundaries(submitter, _submit(submitter, market), market, 1):
        path = submitter.job(f"k{uuid.uuid4().hex[:4]}", "echo ran once", market)
        child = submitter.start("submit", path, "--detach")
        assert _killed_at(submitter, child, boundary) or ALL, boundary
        submitter.rig.cloud.faults.clear()
        paths.append(path)
    eventually(lambda: not submitter.instances(), "no machine runs")
    _collect(submitter)
    for job in (job for path in paths for job in _jobs(submitter, path)):
        assert submitter.state(job)["state"] in {"succeeded", "lost"}, job
        assert len(_machines_of(submitter, job)) <= 1, job


@MARKETS
def test_a_cancel_killed_at_any_request_leaves_nothing_to_gc(
    submitter: Submitter, market: str
) -> None:
    def submit() -> str:
        return submitter.submit(submitter.job(f"k{uuid.uuid4().hex[:4]}", "sleep 1000", market))

    whole = submit()
    _await(submitter, whole, "running")
    since = _count(submitter)
    assert submitter.cli("cancel", whole).code == 0
    boundaries = _boundaries(submitter, since, market, 0)
    jobs = [submit() for _ in boundaries]
    for job, boundary in zip(jobs, boundaries, strict=True):
        _await(submitter, job, "running")
        child = submitter.start("cancel", job)
        assert _killed_at(submitter, child, boundary) or ALL, boundary
        submitter.rig.cloud.faults.clear()
    for job in jobs:
        assert _ended(submitter, job)["state"] == "cancelled", job
    eventually(lambda: not submitter.instances(), "no machine runs")
    _collect(submitter)


@MARKETS
def test_a_tidying_up_killed_at_any_request_leaves_nothing_to_gc(
    submitter: Submitter, market: str
) -> None:
    def submit() -> str:
        return submitter.submit(submitter.job(f"k{uuid.uuid4().hex[:4]}", "true", market))

    whole = submit()
    _ended(submitter, whole)
    since = _count(submitter)
    assert submitter.cli("wait", whole).code == 0
    boundaries = _boundaries(submitter, since, market, 1)
    jobs = [submit() for _ in boundaries]
    for job, boundary in zip(jobs, boundaries, strict=True):
        assert _ended(submitter, job)["state"] == "succeeded"
        child = submitter.start("wait", job)
        assert _killed_at(submitter, child, boundary) or ALL, boundary
        submitter.rig.cloud.faults.clear()
    eventually(lambda: not submitter.instances(), "no machine runs")
    _collect(submitter)


@pytest.mark.parametrize("operation", ["CreateSecurityGroup", "CreateRole", "RunInstances"])
def test_a_request_that_arrives_when_all_was_forgotten_leaves_nothing_to_gc(
    submitter: Submitter, operation: str
) -> None:
    """It was on its way when the command was killed, and is done after the first `gc`."""
    path = submitter.job("late", "true")
    child = submitter.start("submit", path, "--detach")
    held = _held_at(submitter, child, Boundary(0, after=False, operation=operation))
    submitter.send(child, signal.SIGKILL)
    assert submitter.cli("gc", "--yes").code == 0
    assert submitter.left() == {}
    faults = submitter.rig.cloud.faults
    for number in held:
        faults.release(number, "go")
    eventually(lambda: all(faults.journal[n - 1]["status"] for n in held), "it was done")
    _collect(submitter)
    assert submitter.state(*_jobs(submitter, path))["state"] == "lost"


def test_gc_needs_nothing_of_the_machine_that_submitted(submitter: Submitter) -> None:
    """It is lost, with all that it knew; the tags tell the store, and the store the rest."""
    job = submitter.submit(submitter.job("stolen", "true"))
    _ended(submitter, job)
    another = {"LLMCLOUD_HOME": str(submitter.root / "another")}
    done = submitter.cli("gc", "--yes", env=another)
    assert done.code == 0, done.err
    assert job in done.out
    assert submitter.left() == {}


def _submit(submitter: Submitter, market: str) -> int:
    """Submit without being disturbed; return the place in the journal where that begins."""
    since = _count(submitter)
    submitter.submit(submitter.job("whole", "true", market))
    return since


def _count(submitter: Submitter) -> int:
    return len(submitter.rig.cloud.faults.journal)


def _boundaries(submitter: Submitter, since: int, market: str, part: int) -> list[Boundary]:
    """Return where to cut off a command that made all requests of the journal `since` then.

    By default the first or the second half (`part`) of those that are worth it.
    """
    journal = submitter.rig.cloud.faults.journal[since:]
    own = [each for each in journal if not each["key_id"].startswith(SESSION)]
    if ALL:
        return [Boundary(skip, after) for skip in range(len(own)) for after in (False, True)]
    found: list[Boundary] = []
    for each in own:
        is_read = each["operation"].startswith(READS) or each["status"] >= 400
        is_once = each["service"] == "s3" and (not each["key"] or each["key"].endswith(RUNTIME))
        if is_read or is_once:
            continue
        kind = Boundary(0, True, each["service"], each["operation"], _kind_of(each["key"]))
        found.append(replace(kind, skip=sum(replace(e, skip=0) == kind for e in found)))
    if market:
        return [each for each in found if each.operation.endswith(OF_SPOT)]
    return [e for n, e in enumerate(found) if n % 2 == part or e.operation == LAUNCHES]


def _kind_of(key: str) -> str:
    """Return what the keys of all jobs have in common with this one."""
    words = key.split("/")
    return f"/{words[2]}" if words[0] == "jobs" and len(words) > 2 else words[0]


def _killed_at(submitter: Submitter, child: subprocess.Popen[bytes], boundary: Boundary) -> bool:
    """Kill a command once it is at a request; False when it ended and never made that one."""
    held = _held_at(submitter, child, boundary)
    if held:
        submitter.send(child, signal.SIGKILL)
        child.wait()
    for number in held:
        submitter.rig.cloud.faults.release(number, "drop")
    return bool(held)


def _held_at(submitter: Submitter, child: subprocess.Popen[bytes], boundary: Boundary) -> list[int]:
    """Return the request at which a command is held; none when it ended without."""
    faults = submitter.rig.cloud.faults
    submitter.control("faults", **boundary.rule)
    while True:
        own = [
            number
            for number in faults.await_held(HELD_POLL_S)
            if not faults.journal[number - 1]["key_id"].startswith(SESSION)
        ]
        if own or child.poll() is not None:
            return own


def _hold_machines(submitter: Submitter, path: str) -> None:
    """Keep the machines of a job from beginning it, until the faults are cleared."""
    name = _name(path)
    rule = {"service": "s3", "operation": "GetObject", "key": f"jobs/{name}-", "machine": True}
    submitter.control("faults", **rule, times=0, hold=True)


def _name(path: str) -> str:
    return Path(path).read_text().split()[1]


def _jobs(submitter: Submitter, path: str) -> list[str]:
    """Return the ids of all jobs that there are of a job file."""
    prefix = f"jobs/{_name(path)}-"
    found = submitter.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return sorted({each["Key"].split("/")[1] for each in found.get("Contents", ())})


def _ended(submitter: Submitter, job: str) -> dict[str, Any]:
    return _await(submitter, job, "succeeded", "failed", "lost", "cancelled")


def _await(submitter: Submitter, job: str, *states: str) -> dict[str, Any]:
    """Return the status as it lies in the store, once it is one of these: no command to start."""
    status = lambda: json.loads(submitter.object(layout.status(job)))  # noqa: E731
    eventually(lambda: status()["state"] in states, f"{job} is {states}")
    return dict(status())


def _machines_of(submitter: Submitter, job: str) -> list[str]:
    """Return all machines that a job ever had."""
    own = [{"Name": "tag:llmcloud:job", "Values": [job]}]
    found = submitter.client("ec2").describe_instances(Filters=own)["Reservations"]
    return [machine["InstanceId"] for each in found for machine in each["Instances"]]


def _collect(submitter: Submitter) -> None:
    """Remove what there is of all jobs; a second look finds nothing."""
    done = submitter.cli("gc", "--yes")
    assert done.code == 0, done.err
    assert submitter.left() == {}
    assert json.loads(submitter.cli("gc", "--dry-run", "--json").out) == []
