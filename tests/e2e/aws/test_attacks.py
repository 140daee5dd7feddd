"""What an unlucky or hostile world does to jobs on AWS: races, lost machines, odd input."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.aws.conftest import BUCKET
from tests.e2e.conftest import eventually

from llmcloud.runtime import process

if TYPE_CHECKING:
    from tests.e2e.aws.conftest import Submitter
    from tests.e2e.conftest import Done

SMALL = "resources: {cpus: 2}\n"


def job_in(done: Done) -> str:
    """Return the job that a submit says it made."""
    found = re.search(r"job (\S+) on aws", done.err)
    assert found, done.err
    return found[1]


def jobs_of(submitter: Submitter, name: str) -> list[str]:
    """Return the jobs in the store whose names begin so."""
    found = submitter.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"jobs/{name}-")
    return sorted({each["Key"].split("/")[1] for each in found.get("Contents", ())})


def test_who_looks_while_a_job_is_resumed_does_not_take_it_for_lost(submitter: Submitter) -> None:
    """EC2 still knows the machines of before, which are gone, and not yet the new ones."""
    path = submitter.job("again", "[ $LLMCLOUD_ATTEMPT = 2 ] || exit 7", SMALL)
    done = submitter.cli("submit", path)
    assert done.code == 7, done.err
    job = job_in(done)
    submitter.control("faults", service="ec2", operation="RunInstances", hold=True)
    child = submitter.start("resume", job)
    held = eventually(lambda: submitter.rig.cloud.faults.held, "the launch is held")
    assert submitter.state(job)["state"] == "provisioning"
    assert submitter.cli("gc", "--yes").code == 0
    assert submitter.state(job)["state"] == "provisioning"
    submitter.control(f"held/{next(iter(held))}", fate="go")
    _, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert submitter.state(job)["attempt"] == 2
    assert submitter.left() == {}


def test_a_program_that_was_tampered_with_runs_nowhere_and_nothing_replaces_its_machine(
    submitter: Submitter,
) -> None:
    """With nobody there, a group would bring machines that can't boot for ever, at a cost each."""
    path = submitter.job("tampered", "true", "resources: {cpus: 2, spot: true}\n")
    submitter.control(
        "faults", service="autoscaling", operation="CreateAutoScalingGroup", hold=True
    )
    child = submitter.start("submit", path, "--detach", "--json")
    held = eventually(lambda: submitter.rig.cloud.faults.held, "the launch is held")
    (job,) = jobs_of(submitter, "tampered")
    runtime = json.loads(submitter.object(f"jobs/{job}/job.json"))["runtime"]
    key, s3 = f"code/{runtime}.pyz", submitter.client("s3")
    program = submitter.object(key)
    try:
        s3.put_object(Bucket=BUCKET, Key=key, Body=program + b"import os")
        submitter.control(f"held/{next(iter(held))}", fate="go")
        assert child.wait(timeout=60) == 0
        eventually(lambda: submitter.state(job)["state"] == "lost", "it is lost")
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=program)
    (group,) = submitter.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert group["DesiredCapacity"] == 0
    found = submitter.client("ec2").describe_instances()["Reservations"]
    assert sum(len(each["Instances"]) for each in found) == 1
    assert "node.pyz: FAILED" in submitter.log(job)
    assert submitter.cli("gc", "--yes").code == 0
    assert submitter.left() == {}


def test_a_job_whose_machine_is_ended_in_the_console_ends_at_once_for_who_follows_it(
    submitter: Submitter,
) -> None:
    """On demand nothing replaces it; without, the other one would wait, and cost."""
    two = "resources: {cpus: 2, nodes: 2}\n"
    job = submitter.submit(submitter.job("console", "echo up; sleep 1000", two))
    submitter.await_log(job, "[0] up")
    (first,) = (each for each in submitter.instances() if each["AmiLaunchIndex"] == 0)
    submitter.client("ec2").terminate_instances(InstanceIds=[first["InstanceId"]])
    assert submitter.cli("wait", job).code != 0
    found = submitter.state(job)
    assert found["state"] == "lost"
    assert "A machine of it is gone" in found["error"]
    assert submitter.left() == {}


def test_data_that_other_tools_put_there_arrives_whatever_its_names(submitter: Submitter) -> None:
    """Consoles make folders as empty objects whose keys end in a slash."""
    s3, bucket = submitter.client("s3"), "odd.data"
    s3.create_bucket(Bucket=bucket)
    for key, body in {"a b/é/": b"", "a b/é/ü (1)+%20.txt": b"one", "a b/x": b"two"}.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    submitter.control("knobs", enforces_iam=True)
    tree = f"{{source: 's3://{bucket}/a b', target: 'd e'}}"
    one = f"{{source: 's3://{bucket}/a b/x', target: one}}"
    path = submitter.job("odd", "cat 'd e'/x 'd e'/é/* one", f"{SMALL}data: [{tree}, {one}]\n")
    done = submitter.cli("submit", path)
    assert done.code == 0, done.err
    assert "twoonetwo" in done.out


def test_a_training_does_not_outlive_the_node_that_was_killed(submitter: Submitter) -> None:
    """Else it would run on beside the next attempt, and write over what that one writes."""
    job = submitter.submit(submitter.job("orphan", "echo up; exec sleep 1000", SMALL))
    submitter.await_log(job, "up")
    (training,) = process.tagged("LLMCLOUD_JOB", job)
    stat = Path(f"/proc/{training.pid}/stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)  # its parent, the node
    eventually(lambda: submitter.log(job).count("up") == 2, "it trains again")
    assert not training.is_alive
    assert submitter.cli("cancel", job).code == 0


def test_what_a_job_has_whose_bucket_was_deleted_goes_once_that_is_said(
    submitter: Submitter,
) -> None:
    """Nobody can tell that the job is not alive, and of nothing else is it known what is left."""
    store, s3 = "s3://deleted-store", submitter.client("s3")
    path = submitter.job("homeless", "echo up; sleep 1000", f"{SMALL}store: {store}\n")
    s3.create_bucket(Bucket="deleted-store")
    job = submitter.submit(path)
    submitter.await_log(job, "up")
    for each in s3.list_objects_v2(Bucket="deleted-store")["Contents"]:
        s3.delete_object(Bucket="deleted-store", Key=each["Key"])
    s3.delete_bucket(Bucket="deleted-store")
    done = submitter.cli("gc", "--yes")
    assert done.code == 9
    assert f"llmcloud gc --store {store}" in done.err
    assert submitter.left()
    assert submitter.cli("gc", "--yes", "--store", store).code == 0
    assert submitter.left() == {}
    assert submitter.cli("gc", "--yes").code == 0


def test_two_submits_at_once_are_one_job(submitter: Submitter) -> None:
    path = submitter.job("twice", "echo ran once", SMALL)
    both = [submitter.start("submit", path, "--detach") for _ in range(2)]
    said = [child.communicate(timeout=120)[1].decode() for child in both]
    assert sorted(child.returncode for child in both) == [0, 2], said
    (job,) = jobs_of(submitter, "twice")
    assert "The name is in use" in said[[child.returncode for child in both].index(2)]
    assert submitter.cli("wait", job).code == 0
    assert submitter.log(job).count("ran once") == 1
    assert submitter.left() == {}


def test_gc_takes_nothing_from_a_submit_that_is_under_way(submitter: Submitter) -> None:
    """Neither what it has made already nor the job itself, which has no machine yet."""
    path = submitter.job("under", "echo trained", SMALL)
    submitter.control("faults", operation="RunInstances", hold=True, machine=False)
    child = submitter.start("submit", path)
    held = eventually(lambda: submitter.rig.cloud.faults.held, "the launch is held")
    assert submitter.cli("gc", "--yes").code == 0
    submitter.control(f"held/{next(iter(held))}", fate="go")
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert b"trained" in out
    assert submitter.left() == {}
