"""A submitter of the rig's AWS: the real command inside its network, and what it leaves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from tests.e2e.conftest import LLMCLOUD, Done
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.remote import Remote
from tests.rig.waits import DEADLINE_S, eventually

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.rig.aws.rig import Rig

HERE = Path(__file__).parent
SHORT = {
    "test_tiny_gpt_trains_on_one_machine_and_leaves_nothing",
    "test_a_machine_that_is_taken_back_is_replaced_and_goes_on",
    "test_a_node_reaches_its_own_job_and_nothing_else",
    "test_a_job_trains_in_a_container_and_what_it_made_is_pulled",
}
REGION = "us-east-1"
BUCKET = f"llmcloud-{ACCOUNT}-{REGION}"
TIMEOUT_S = 120.0
PYTHON = sys.executable  # which the machines have too, with numpy
# Counts, saves each step by an atomic rename, and goes on from the newest one it finds.
COUNTS = """
    import json, os, sys, time
    from pathlib import Path
    folder, last = Path(os.environ["LLMCLOUD_CHECKPOINT_DIR"]), int(sys.argv[1])
    steps = [int(path.stem.split("-")[1]) for path in folder.glob("step-*.json")]
    print("begins after", max(steps, default=0), flush=True)
    for step in range(max(steps, default=0) + 1, last + 1):
        time.sleep(0.25)
        new = folder / f".step-{step}.json"
        new.write_text(json.dumps({"step": step, "sum": step * (step + 1) // 2}))
        new.rename(folder / f"step-{step}.json")
        print(f"step {step} loss={1 / step:.4f}", flush=True)
"""
# Two nodes: the second one says something to the first, by the address that it is told.
MEET = """
    import os, socket, time
    rank, port = os.environ["NODE_RANK"], int(os.environ["MASTER_PORT"])
    where = os.environ["MASTER_ADDR"], port
    print("node", rank, "at", os.environ["LLMCLOUD_NODE_IPS"], "by", where[0], flush=True)
    if rank == "0":
        print("said", socket.create_server(where).accept()[0].recv(99).decode())
    while rank == "1":
        try:
            socket.create_connection(where).sendall(b"hello from 1")
            break
        except OSError:
            time.sleep(0.1)
"""


@dataclass
class Submitter:
    """Someone with credentials, a folder of job files, and a home of their own."""

    rig: Rig
    root: Path
    environ: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def job(self, name: str, run: str, more: str = "", **files: str) -> str:
        """Write a job file and the files beside it; return the job file's path."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        for file, text in files.items():
            (folder / file.replace("__", ".")).write_text(textwrap.dedent(text))
        script = textwrap.indent(textwrap.dedent(run).strip(), "  ")
        own = f"name: {name}-{uuid.uuid4().hex[:6]}\nprovider: aws\nregion: {REGION}\n"
        path = folder / "job.yaml"
        path.write_text(f"{own}run: |\n{script}\n{textwrap.dedent(more)}")
        return str(path)

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        child = self.rig.popen(
            [*LLMCLOUD, *args],
            {**self.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(child)
        return child

    def cli(
        self, *args: str, env: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> Done:
        """Run a command to its end."""
        child = self.start(*args, env=env)
        out, err = child.communicate(timeout=timeout_s)
        return Done(child.returncode, out.decode(), err.decode())

    def send(self, child: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """Send a signal to a started command itself: its parent only entered the rig."""
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        begun = lambda: child.poll() is not None or children.read_text().split()  # noqa: E731
        found = eventually(begun, "the command has begun")
        if child.poll() is None:
            os.kill(int(found[0]), number)

    def submit(self, path: str, *args: str) -> str:
        """Submit a job, detached, and return its id."""
        done = self.cli("submit", path, "--detach", "--json", *args)
        assert done.code == 0, done.err
        return str(done.document["job"])

    def state(self, job: str) -> dict[str, Any]:
        done = self.cli("status", job, "--json")
        assert done.code == 0, done.err
        found: dict[str, Any] = done.document
        return found

    def await_state(self, job: str, *states: str) -> dict[str, Any]:
        eventually(lambda: self.state(job)["state"] in states, f"{job} is one of {states}")
        return self.state(job)

    def log(self, job: str) -> str:
        return self.cli("logs", job).out

    def await_log(self, job: str, text: str) -> None:
        """Follow a job's log until a line has a text."""
        child = self.start("logs", "-f", job)
        assert child.stdout
        too_late = threading.Timer(DEADLINE_S, self.send, (child, signal.SIGKILL))
        too_late.start()
        found = any(text in line.decode() for line in child.stdout)
        too_late.cancel()
        self.send(child, signal.SIGKILL)
        assert found, f"{text!r} in the log of {job}: {self.log(job)}"

    def object(self, key: str) -> bytes:
        """Return an object of the store, as it lies there."""
        found = self.client("s3").get_object(Bucket=BUCKET, Key=key)
        return bytes(found["Body"].read())

    def client(self, service: str, region: str = REGION) -> Any:
        """Return the SDK's client of the same account, for this process."""
        if (service, region) not in self._clients:
            self._clients[service, region] = boto3.session.Session().client(
                service,
                region,
                endpoint_url=f"http://127.0.0.1:{self.rig.cloud.port}",
                aws_access_key_id=self.rig.environ["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.rig.environ["AWS_SECRET_ACCESS_KEY"],
            )
        return self._clients[service, region]

    def close(self) -> None:
        """End what was started and the connections of the clients."""
        for child in self.started:
            self.send(child, signal.SIGKILL)
            child.communicate()
        for each in self._clients.values():
            each.close()

    def instances(self, region: str = REGION) -> list[dict[str, Any]]:
        """Return the machines that are not gone."""
        found = self.client("ec2", region).describe_instances()["Reservations"]
        each = (instance for reservation in found for instance in reservation["Instances"])
        return [i for i in each if i["State"]["Name"] not in {"terminated", "shutting-down"}]

    def left(self, region: str = REGION) -> dict[str, list[str]]:
        """Return all that is there of what submits make, by its kind."""
        ec2, iam = self.client("ec2", region), self.client("iam")
        scaling, ssm = self.client("autoscaling", region), self.client("ssm", region)
        groups = ec2.describe_security_groups()["SecurityGroups"]
        roles = iam.list_roles()["Roles"]
        found = {
            "instances": [each["InstanceId"] for each in self.instances(region)],
            "security groups": [g["GroupName"] for g in groups if g["GroupName"] != "default"],
            "volumes": [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]],
            "interfaces": [
                each["NetworkInterfaceId"]
                for each in ec2.describe_network_interfaces()["NetworkInterfaces"]
            ],
            "templates": [
                each["LaunchTemplateName"]
                for each in ec2.describe_launch_templates()["LaunchTemplates"]
            ],
            "placement groups": [
                each["GroupName"]
                for each in ec2.describe_placement_groups()["PlacementGroups"]
                if each["State"] != "deleted"
            ],
            "scaling groups": [
                each["AutoScalingGroupName"]
                for each in scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
            ],
            "roles": [each["RoleName"] for each in roles if "llmcloud" in each["RoleName"]],
            "profiles": [
                each["InstanceProfileName"]
                for each in iam.list_instance_profiles()["InstanceProfiles"]
            ],
            "parameters": [
                each["Name"]
                for each in ssm.get_parameters_by_path(Path="/llmcloud", Recursive=True)[
                    "Parameters"
                ]
            ],
        }
        return {kind: names for kind, names in found.items() if names}

    def control(self, call: str, **said: Any) -> Any:
        """Make a control call of the rig, see tests/rig/aws/control.py; POST."""
        return Remote(f"http://127.0.0.1:{self.rig.cloud.port}").post(call, **said)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here as long but those that `make test` shall run."""
    for item in items:
        if item.path.parent == HERE and getattr(item, "originalname", "") not in SHORT:
            item.add_marker("rig")


@pytest.fixture
def rig(aws_rig: Rig) -> Iterator[Rig]:
    aws_rig.reset()
    yield aws_rig
    assert aws_rig.cloud.world.problems == []


@pytest.fixture
def submitter(rig: Rig, tmp_path: Path) -> Iterator[Submitter]:
    """Give a submitter; whatever it started has ended, and no machine runs, afterwards."""
    kept = ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    made = Submitter(rig, tmp_path, {**own, "LLMCLOUD_HOME": str(tmp_path / "home")})
    try:
        yield made
        rig.cloud.faults.clear()
        eventually(lambda: not made.instances(), f"no machine runs: {made.instances()}")
    finally:
        made.close()
        shutil.rmtree(tmp_path / "home", ignore_errors=True)


def manifest_of(submitter: Submitter, job: str, step: int) -> Manifest:
    """Return the manifest of a checkpoint in the store."""
    key = layout.checkpoint_complete(job, step)
    return Manifest.from_json(submitter.object(key))


def assert_met(said: str) -> None:
    """Check that two nodes that ran MEET have, each at an address of its own."""
    met = re.findall(r"node (\d) at ([\d.]+),([\d.]+) by ([\d.]+)", said)
    first, second = sorted(met)
    assert (first[0], second[0]) == ("0", "1")
    assert first[1:] == second[1:]
    assert first[1] == first[3] != first[2]
    assert "said hello from 1" in said
