"""kill -9 of the command line at any request: what it was to do is done once, and nothing is left.

By default at requests that change something, once they are done but not answered: until the next
such one all looks the same to AWS. A test takes some of them, and those that launch; on spot and
SageMaker, those that are other than on demand. LLMCLOUD_KILLS=all: at each request, before and
after, of more commands.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.aws.victims import (
    ENDED,
    Cancel,
    Create,
    Delete,
    Resume,
    Submit,
    Victim,
    Wait,
    await_state,
    jobs_of,
)
from tests.e2e.conftest import eventually
from tests.rig.aws.faults import SESSION

if TYPE_CHECKING:
    import subprocess

    from tests.e2e.aws.conftest import Submitter

ALL = os.environ.get("LLMCLOUD_KILLS") == "all"
READS = ("Get", "Head", "Describe", "List")
pytestmark = pytest.mark.timeout(3600 if ALL else 180)
MARKETS = {
    "on-demand": "",
    "spot": "resources: {spot: true}\n",
    "managed": "service: managed\n",
}
OWN = {"spot": ("LaunchTemplate", "AutoScalingGroup"), "managed": ("TrainingJob",)}
LAUNCHES = "RunInstances"
AT_ONCE = 8  # subjects that are made ready
HELD_POLL_S = 0.5
GC_S = 1200.0 if ALL else 120.0  # of more than a hundred jobs
RUNTIME = ".pyz"
FRESH = ("eu-north-1", "eu-central-1", "ap-south-1", "ca-central-1", "us-east-2", "eu-west-1")


@dataclass(frozen=True)
class Case:
    """A command in one market; by default it is killed at every n-th request, from the first."""

    victim: type[Victim]
    market: str = "on-demand"
    every: int = 1
    first: int = 0

    def __str__(self) -> str:
        return f"{self.victim.__name__.lower()}-{self.market}"


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


AGAIN = [
    Case(Submit, every=2),
    Case(Submit, "spot"),
    Case(Submit, "managed"),
    Case(Resume, every=4),
    Case(Resume, "spot", every=2),
    Case(Resume, "managed"),
    Case(Create, every=3),
    Case(Delete, every=3),
]
FORGOTTEN = [
    Case(Submit, every=2, first=1),
    Case(Submit, "spot"),
    Case(Resume, every=4, first=2),
    Case(Cancel, every=2),
    Case(Cancel, "spot"),
    Case(Cancel, "managed"),
    Case(Wait, every=2, first=1),
    Case(Wait, "spot"),
]
if ALL:
    AGAIN += [Case(Cancel, market) for market in MARKETS]
    FORGOTTEN += [
        Case(Submit, "managed"),
        Case(Resume, "spot"),
        Case(Resume, "managed"),
        Case(Wait, "managed"),
    ]


@pytest.mark.parametrize("case", AGAIN, ids=str)
def test_a_command_killed_at_any_request_and_done_again_does_it_once(
    submitter: Submitter, case: Case
) -> None:
    """The same command carries on, or says what is at work; then `gc` finds the rest."""
    victim = case.victim(submitter, MARKETS[case.market])
    subjects = _kill_everywhere(submitter, victim, case, again=True)
    for subject in subjects:
        victim.check(subject, again=True)
    victim.clean(subjects)
    _collect(submitter)


@pytest.mark.parametrize("case", FORGOTTEN, ids=str)
def test_a_command_killed_at_any_request_leaves_nothing_that_gc_does_not_find(
    submitter: Submitter, case: Case
) -> None:
    """What was asked for and never came is taken back; a machine that came does its job."""
    victim = case.victim(submitter, MARKETS[case.market])
    subjects = _kill_everywhere(submitter, victim, case, again=False)
    victim.settle(subjects)
    eventually(lambda: not submitter.instances(), "no machine runs")
    eventually(lambda: not _trainings(submitter), "no training job runs")
    _collect(submitter)
    for subject in subjects:
        victim.check(subject, again=False)


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
    assert submitter.state(*jobs_of(submitter, path))["state"] == "lost"


def test_gc_needs_nothing_of_the_machine_that_submitted(submitter: Submitter) -> None:
    """It is lost, with all that it knew; the tags tell the store, and the store the rest."""
    job = submitter.submit(submitter.job("stolen", "true"))
    await_state(submitter, job, *ENDED)
    another = {"LLMCLOUD_HOME": str(submitter.root / "another")}
    done = submitter.cli("gc", "--yes", env=another)
    assert done.code == 0, done.err
    assert job in done.out
    assert submitter.left() == {}


def _kill_everywhere(submitter: Submitter, victim: Victim, case: Case, *, again: bool) -> list[str]:
    """Kill a command at each boundary, each time with a subject of its own; return those."""
    boundaries = _boundaries(_whole(submitter, victim), case)
    subjects: list[str] = []
    for begun in range(0, len(boundaries), AT_ONCE):
        batch = boundaries[begun : begun + AT_ONCE]
        subjects += (ready := [victim.begin() for _ in batch])
        for subject, boundary in zip(ready, batch, strict=True):
            victim.await_ready(subject)
            if again:
                _hold_machines(submitter, victim.keys(subject))
            child = submitter.start(*victim.argv(subject))
            is_killed = _killed_at(submitter, child, boundary)
            assert is_killed or ALL, boundary  # all are counted in another order, or number
            if again and is_killed:
                done = submitter.cli(*victim.argv(subject))
                assert done.code in {0, victim.refusal}, (boundary, done.err)
            submitter.rig.cloud.faults.clear()
    return subjects


def _whole(submitter: Submitter, victim: Victim) -> list[dict[str, Any]]:
    """Do it without being disturbed; return the requests that this makes."""
    if ALL:
        submitter.submit(submitter.job("first", "true"))  # makes the store, too
    subject = victim.begin()
    victim.await_ready(subject)
    since = _count(submitter)
    done = submitter.cli(*victim.argv(subject))
    assert done.code == 0, done.err
    made = submitter.rig.cloud.faults.journal[since:]
    victim.clean([subject])
    return [each for each in made if not each["key_id"].startswith(SESSION)]


def _count(submitter: Submitter) -> int:
    return len(submitter.rig.cloud.faults.journal)


def _boundaries(made: list[dict[str, Any]], case: Case) -> list[Boundary]:
    """Return where to cut off a command that made these requests."""
    if ALL:
        return [Boundary(skip, after) for skip in range(len(made)) for after in (False, True)]
    found: list[Boundary] = []
    for each in made:
        is_read = each["operation"].startswith(READS) or each["status"] >= 400
        is_once = each["service"] == "s3" and (not each["key"] or each["key"].endswith(RUNTIME))
        if is_read or is_once:
            continue
        kind = Boundary(0, True, each["service"], each["operation"], _kind_of(each["key"]))
        found.append(replace(kind, skip=sum(replace(e, skip=0) == kind for e in found)))
    if case.market in OWN:
        found = [each for each in found if each.operation.endswith(OWN[case.market])]
    return [
        each
        for n, each in enumerate(found)
        if n % case.every == case.first or each.operation == LAUNCHES
    ]


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


def _hold_machines(submitter: Submitter, keys: str) -> None:
    """Keep the machines that read these keys from beginning, until the faults are cleared."""
    if keys:
        rule = {"service": "s3", "operation": "GetObject", "key": keys, "machine": True}
        submitter.control("faults", **rule, times=0, hold=True)


def _trainings(submitter: Submitter) -> list[dict[str, Any]]:
    """Return the training jobs that run."""
    found = submitter.client("sagemaker").list_training_jobs(StatusEquals="InProgress")
    return list(found["TrainingJobSummaries"])


def _collect(submitter: Submitter) -> None:
    """Remove what there is of all jobs; a second look finds nothing."""
    done = submitter.cli("gc", "--yes", timeout_s=GC_S)
    assert done.code == 0, done.err
    assert submitter.left() == {}
    assert _trainings(submitter) == []
    assert json.loads(submitter.cli("gc", "--dry-run", "--json").out) == []
