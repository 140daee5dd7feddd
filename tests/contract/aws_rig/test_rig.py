"""All of the rig together: commands inside, AWS under its real names, instances that boot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.aws.rig import Rig

ROOT = Path(__file__).parents[3]
# It prints which instance it launched; the instance tells what it is by an object in S3.
LAUNCH = """
import boto3
script = '''#!/bin/sh
M=http://169.254.169.254/latest
T=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' $M/api/token)
curl -fsS -H "X-aws-ec2-metadata-token: $T" -o /id $M/meta-data/instance-id
curl -fsS -T /id --aws-sigv4 aws:amz:us-east-1:s3 -u test:test \\\\
    https://rig-test.s3.us-east-1.amazonaws.com/id
shutdown -h now
'''
boto3.client("s3").create_bucket(Bucket="rig-test")
ssm, ec2 = boto3.client("ssm"), boto3.client("ec2")
path = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
image = ssm.get_parameter(Name=path)["Parameter"]["Value"]
made = ec2.run_instances(
    ImageId=image,
    InstanceType="m5.large",
    MinCount=1,
    MaxCount=1,
    UserData=script,
    InstanceInitiatedShutdownBehavior="terminate",
)
print(made["Instances"][0]["InstanceId"])
"""
READ = """
from obstore.store import S3Store
print(bytes(S3Store("rig-test", region="us-east-1").get("id").bytes()).decode())
"""
STATE = """
import boto3, sys
found = boto3.client("ec2").describe_instances(InstanceIds=[sys.argv[1]])
print(found["Reservations"][0]["Instances"][0]["State"]["Name"])
"""


@pytest.fixture
def rig(aws_rig: Rig) -> Iterator[Rig]:
    aws_rig.reset()
    yield aws_rig
    assert aws_rig.cloud.world.problems == []


def python(rig: Rig, program: str, *arguments: str) -> str:
    done = rig.run([sys.executable, "-c", program, *arguments])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_instance_boots_writes_to_s3_and_terminates_itself(rig: Rig) -> None:
    """Launched by boto3, written by curl, read by obstore: all with the real names."""
    instance_id = python(rig, LAUNCH)
    eventually(lambda: not rig.machines.is_running(instance_id))
    assert python(rig, READ) == instance_id
    eventually(lambda: python(rig, STATE, instance_id) == "terminated")


def test_up_exec_and_down_are_commands(rig: Rig, tmp_path: Path) -> None:
    """The three find each other by the folder for temporary files: others may run rigs too."""
    del rig  # it says whether there can be one
    tool = [sys.executable, "-m", "tests.rig"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([*tool, "up", "aws"], cwd=ROOT, env=env, stdout=subprocess.PIPE) as up:
        assert up.stdout is not None
        assert b"AWS is up." in up.stdout.readline()
        program = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
        inside = subprocess.run(
            [*tool, "exec", "--", sys.executable, "-c", program],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        subprocess.run([*tool, "down"], cwd=ROOT, env=env, check=True)
        assert up.wait(30) == 0
    assert inside.stdout == "123456789012\n"
    assert list(tmp_path.glob("llmcloud-*")) == []


def test_without_a_rig_exec_says_how_to_start_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.rig", "exec", "--", "true"]
    environ = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "python -m tests.rig up aws" in done.stderr
