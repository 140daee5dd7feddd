"""Jobs on EC2 machines that really boot: from the submit to nothing left."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.aws.conftest import COUNTS, MEET, PYTHON, REGION, assert_met, manifest_of
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from tests.e2e.aws.conftest import Submitter

TEMPLATE = Path(__file__).parents[3] / "templates" / "tiny-gpt"
CHECKPOINTS = "checkpoints: {interval: 1s, keep: 3}\n"
TWO = "resources: {nodes: 2}\n"


def test_tiny_gpt_trains_on_one_machine_and_leaves_nothing(submitter: Submitter) -> None:
    """Submit, boot, train, live log, metrics, checkpoint, pull; the digest is the node's own."""
    folder = submitter.root / "tiny"
    shutil.copytree(TEMPLATE, folder)
    after = "sha256sum checkpoints/*-300* | sed 's/^/digest /'"
    done = submitter.cli(
        "submit",
        str(folder / "job.yaml"),
        *("--set", "provider=aws", "--set", "region=us-east-1", "--set", "setup="),
        *("--set", f"run={PYTHON} train.py {{hyperparameters}} && {after}"),
        *("--set", "hyperparameters.max_steps=300", "--set", "checkpoints.interval=1s"),
    )
    assert done.code == 0, done.err
    assert re.search(r"iter 300: loss \d", done.out)
    assert submitter.left() == {}

    job = re.search(r"job (tiny-gpt-\w+) on aws", done.err)
    assert job, done.err
    found = submitter.state(job[1])
    assert (found["state"], found["region"], found["metrics"]["step"]) == (
        "succeeded",
        "us-east-1",
        300,
    )
    pulled = submitter.root / "pulled"
    done = submitter.cli("checkpoints", "pull", job[1], "--to", str(pulled))
    assert done.code == 0, done.err
    (file,) = (path for path in pulled.rglob("*") if path.is_file())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (shipped,) = manifest_of(submitter, job[1], 300).files
    said = re.search(r"digest (\w{64})", submitter.log(job[1]))
    assert said
    assert digest == shipped.sha256 == said[1]


def test_the_log_is_live(submitter: Submitter) -> None:
    """A line is there while the run that printed it goes on."""
    job = submitter.submit(submitter.job("live", "echo begun; sleep 1000"))
    submitter.await_log(job, "begun")
    assert submitter.state(job)["state"] == "running"
    assert submitter.cli("cancel", job).code == 0
    assert submitter.state(job)["state"] == "cancelled"
    assert submitter.left() == {}


def test_two_nodes_meet_and_each_has_a_log(submitter: Submitter) -> None:
    path = submitter.job("pair", "python3 meet.py", TWO, meet__py=MEET)
    done = submitter.cli("submit", path)
    assert done.code == 0, done.err
    assert_met(done.out)
    assert submitter.left() == {}
    (job,) = set(re.findall(r"job (\S+) on aws", done.err))
    for rank in (0, 1):
        log = submitter.cli("logs", job, "--node", str(rank)).out
        assert re.findall(r"node (\d) at", log) == [str(rank)]


def test_nodes_with_many_interfaces_meet_in_a_private_subnet(submitter: Submitter) -> None:
    """…and leave none of them."""
    ec2 = submitter.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/24")["Vpc"]["VpcId"]
    place = {"CidrBlock": "10.9.0.0/24", "AvailabilityZone": f"{REGION}b"}
    subnet = ec2.create_subnet(VpcId=vpc, **place)["Subnet"]["SubnetId"]
    kind = "resources: {nodes: 2, instance_type: p4d.24xlarge}\n"
    path = submitter.job("efa", "python3 meet.py", kind, meet__py=MEET)
    done = submitter.cli("submit", path, env={"LLMCLOUD_AWS_SUBNETS": subnet})
    assert done.code == 0, done.err
    assert_met(done.out)
    assert submitter.left() == {}
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


def test_torchrun_is_started_on_each_node_with_its_rank(submitter: Submitter) -> None:
    """With a torchrun of the test's own, as torch is not everywhere that this runs."""
    fake = """
        import os, sys
        print("torchrun", *sys.argv[1:], flush=True)
    """
    files = {
        "torch/__init____py": "",
        "torch/distributed/__init____py": "",
        "torch/distributed/run__py": fake,
    }
    folder = submitter.root / "tr" / "torch" / "distributed"
    folder.mkdir(parents=True)
    path = submitter.job("tr", "python3 train.py", f"{TWO}launcher: torchrun\n", **files)
    done = submitter.cli("submit", path)
    assert done.code == 0, done.err
    for rank in (0, 1):
        assert f"--node-rank={rank}" in done.out
    assert done.out.count("--nnodes=2") == 2


def test_a_machine_that_is_taken_back_is_replaced_and_goes_on(submitter: Submitter) -> None:
    """The notice comes in mid-training; what was saved in time is where the next one begins."""
    job = _training_on_spot(submitter, "spot", steps=60, until=8)
    (first,) = submitter.instances()
    submitter.control("interrupt", instance_id=first["InstanceId"], notice_s=20)
    eventually(lambda: submitter.state(job)["attempt"] > 1, "a second attempt", 150)
    (second,) = submitter.instances()
    assert second["InstanceId"] != first["InstanceId"]
    assert submitter.cli("wait", job, timeout_s=150).code == 0
    log = submitter.log(job)
    begun = [int(step) for step in re.findall(r"begins after (\d+)", log)]
    assert begun[0] == 0
    assert begun[1] >= 8
    steps = [int(step) for step in re.findall(r"^step (\d+) ", log, re.MULTILINE)]
    assert steps[steps.index(begun[1] + 1) :] == list(range(begun[1] + 1, 61))
    assert submitter.left() == {}


def test_a_job_waits_for_machines_that_there_are_none_of_now(submitter: Submitter) -> None:
    """Its group goes on trying: whoever looks meanwhile must not take the job for lost."""
    job = _training_on_spot(submitter, "waits", steps=40, until=4)
    (first,) = submitter.instances()
    submitter.control("shortages", code="InsufficientInstanceCapacity")
    submitter.control("interrupt", instance_id=first["InstanceId"], notice_s=5)
    eventually(lambda: not submitter.instances(), "the machine is gone")
    eventually(
        lambda: "InsufficientInstanceCapacity" in _activities(submitter, job), "a failed try"
    )
    waiting = submitter.state(job)
    assert waiting["state"] in {"preempted", "running", "provisioning"}
    said = submitter.cli("status", job).out
    assert "waits   for 1 machine." in said
    assert "InsufficientInstanceCapacity" in said
    submitter.rig.cloud.world.shortages.clear()
    assert submitter.cli("wait", job, timeout_s=150).code == 0, submitter.log(job)
    assert submitter.left() == {}


def test_a_job_whose_machines_come_no_more_is_lost_and_resumed(submitter: Submitter) -> None:
    """Auto Scaling gives up by itself, after a day in vain; here somebody suspends it."""
    job = _training_on_spot(submitter, "given-up", steps=40, until=4)
    submitter.client("autoscaling").suspend_processes(
        AutoScalingGroupName=f"llmcloud-{job}", ScalingProcesses=["Launch"]
    )
    (first,) = submitter.instances()
    submitter.control("interrupt", instance_id=first["InstanceId"], notice_s=5)
    eventually(lambda: submitter.state(job)["state"] == "lost", "the job is lost", 60)
    said = " ".join(submitter.cli("status", job).out.split())
    assert "Auto Scaling launches no more" in said
    assert f"llmcloud resume {job}" in said
    done = submitter.cli("resume", job, timeout_s=150)
    assert done.code == 0, done.err
    assert submitter.state(job)["state"] == "succeeded"
    assert submitter.left() == {}


def _training_on_spot(submitter: Submitter, name: str, *, steps: int, until: int) -> str:
    """Return a job that saves as it counts, once it has come to the step `until`."""
    more = f"{CHECKPOINTS}resources: {{spot: true}}\n"
    path = submitter.job(name, f"{PYTHON} counts.py {steps}", more, counts__py=COUNTS)
    job = submitter.submit(path)
    submitter.await_log(job, f"step {until} ")
    return job


def _activities(submitter: Submitter, job: str) -> str:
    scaling = submitter.client("autoscaling")
    said = scaling.describe_scaling_activities(AutoScalingGroupName=f"llmcloud-{job}")
    return str(said["Activities"][:1])


@pytest.mark.parametrize("spot", ["false", "true"])
def test_machines_end_with_their_job_with_nobody_there(submitter: Submitter, spot: str) -> None:
    """No command runs after the submit: a group would bring machines back for ever."""
    more = f"resources: {{spot: {spot}, nodes: 2}}\n"
    job = submitter.submit(submitter.job("alone", "true", more))
    scaling = submitter.client("autoscaling")
    eventually(
        lambda: not scaling.describe_auto_scaling_groups()["AutoScalingGroups"],
        "the group is gone",
    )
    eventually(lambda: not submitter.instances(), "no machine runs")
    assert submitter.state(job)["state"] == "succeeded"
    assert submitter.cli("gc", "--yes").code == 0
    assert submitter.left() == {}
