"""What a job on AWS costs in time, in the miniature AWS of the tests.

python -m benchmarks.aws

From Enter to RunInstances, with 100 ms added to every request and without, beside the same steps
by the AWS command line; how long a line takes from the node to the terminal; and how long a job
stands still when its spot machine is taken back.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import measure
from benchmarks.measure import LLMCLOUD
from tests.rig.aws import rig
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rig.aws.rig import Rig

    Steps = list[tuple[int, float]]  # the number of each, and when it was done

LATENCY_S = 0.1
LINES = 40
DEADLINE_S = 300.0
STILL_S = 3.0  # no step takes so long, and no machine is replaced sooner
JOB = "name: {name}\nprovider: aws\nregion: us-east-1\nrun: |\n  {run}\n{more}"
TRUST = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}'  # noqa: E501
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
# What a submit asks for, as one would write it: the code and the program are there already.
STEPS = """
set -eu
A="{aws} --region us-east-1 --output text"
N={name}
ID=$($A sts get-caller-identity --query Account)
$A s3api head-bucket --bucket $BUCKET >/dev/null
echo {{}} > $N.json
$A s3api put-object --bucket $BUCKET --key jobs/$N/job.json --body $N.json >/dev/null
IMAGE=$($A ssm get-parameter --name {parameter} --query Parameter.Value)
SUBNET=$($A ec2 describe-subnets --filters Name=default-for-az,Values=true \
  --query 'Subnets[0].SubnetId')
VPC=$($A ec2 describe-subnets --subnet-ids $SUBNET --query 'Subnets[0].VpcId')
GROUP=$($A ec2 create-security-group --group-name $N --description $N --vpc-id $VPC --query GroupId)
$A ec2 authorize-security-group-ingress --group-id $GROUP --protocol=-1 --source-group $GROUP \
  >/dev/null
$A iam create-role --role-name $N --assume-role-policy-document '{trust}' >/dev/null
$A iam put-role-policy --role-name $N --policy-name $N --policy-document '{policy}'
$A iam create-instance-profile --instance-profile-name $N >/dev/null
$A iam add-role-to-instance-profile --instance-profile-name $N --role-name $N
$A ec2 run-instances --image-id $IMAGE --instance-type m7i.large --subnet-id $SUBNET \
  --security-group-ids $GROUP --iam-instance-profile Name=$N >/dev/null
"""
PARAMETER = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
TICKS = "{python} -u -c 'import time\nfor _ in range({lines}): print(time.time()); time.sleep(0.2)'"
COUNTS = """
import os, sys, time
from pathlib import Path
folder = Path(os.environ["LLMCLOUD_CHECKPOINT_DIR"])
steps = [int(path.stem.split("-")[1]) for path in folder.glob("step-*.bin")]
for step in range(max(steps, default=0) + 1, 100_000):
    print("step", step, time.time(), flush=True)
    time.sleep(0.1)
    (folder / ".new").write_text("x" * 1000)
    (folder / ".new").rename(folder / f"step-{step}.bin")
"""


@dataclass(frozen=True)
class Launch:
    """A submit as the rig saw it."""

    seconds: float
    requests: int


class Bench:
    """A submitter in the rig, with a folder of job files."""

    def __init__(self, made: Rig, folder: Path, aws: str) -> None:
        self.rig, self.folder, self.aws = made, folder, aws
        self._number = 0

    def job(self, run: str, more: str = "") -> tuple[str, str]:
        """Write a job file, and return its name and path."""
        self._number += 1
        name = f"bench-{self._number}"
        folder = self.folder / name
        folder.mkdir()
        (folder / "counts.py").write_text(COUNTS)
        indented = run.replace("\n", "\n  ")
        (folder / "job.yaml").write_text(JOB.format(name=name, run=indented, more=more))
        return name, str(folder / "job.yaml")

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, to its end."""
        home = {"LLMCLOUD_HOME": str(self.folder / "home")}
        done = self.rig.run(argv, home, timeout_s=300)
        if done.returncode:
            raise RuntimeError(f"{argv}: {done.stderr}")
        return done

    def latency(self, seconds: float) -> None:
        """Add so much to every answer."""
        self.rig.cloud.world.knobs.set({"latency_s": seconds})

    def launched(self, *argv: str) -> Launch:
        """Run what launches a machine; return how long it took until that was asked for."""
        journal = self.rig.cloud.faults.journal
        first, began = len(journal), time.time()
        self.run(*argv)
        for number, entry in enumerate(journal[first:]):
            if entry["operation"] == "RunInstances":
                return Launch(entry["time"] - began, number)
        raise RuntimeError("nothing was launched")

    def submit(self) -> Launch:
        """Submit a job whose code is in the store already, and forget it."""
        name, path = self.job("true")
        found = self.launched(LLMCLOUD, "submit", path, "--detach")
        self.latency(0)
        self.run(LLMCLOUD, "wait", name)
        return found

    def by_hand(self) -> Launch:
        """Do the same by the AWS command line."""
        self._number += 1
        steps = STEPS.format(
            aws=self.aws,
            name=f"by-hand-{self._number}",
            parameter=PARAMETER,
            trust=TRUST,
            policy=POLICY,
        )
        bucket = "BUCKET=llmcloud-123456789012-us-east-1\ncd " + str(self.folder)
        found = self.launched("bash", "-c", f"{bucket}\n{steps}")
        self.latency(0)
        self.rig.machines.kill_all()
        return found


def main() -> None:
    """Measure all three, and print a table each."""
    options = measure.options(__doc__, runs=7, quick_runs=2)
    aws = measure.peer(options.peers, "aws", "awscli==1.46.3")
    with rig.up() as made, tempfile.TemporaryDirectory() as folder:
        bench = Bench(made, Path(folder), aws)
        bench.submit()  # makes the bucket, and compiles
        _print_launches(bench, options.runs)
        _print_lines(bench, options.runs)
        _print_interruptions(bench, max(options.runs // 2, 1))


def _print_launches(bench: Bench, runs: int) -> None:
    subjects = {"llmcloud submit": bench.submit, "the same steps by `aws`": bench.by_hand}
    found: dict[tuple[str, float], list[Launch]] = {}
    for _ in range(runs):
        for latency_s in (0.0, LATENCY_S):
            for name, subject in subjects.items():
                bench.latency(latency_s)
                found.setdefault((name, latency_s), []).append(subject())
    rows = []
    for name in subjects:
        plain, slow = (
            statistics.median(each.seconds for each in found[name, latency_s])
            for latency_s in (0.0, LATENCY_S)
        )
        requests = round(statistics.median(each.requests for each in found[name, LATENCY_S]))
        waited = round((slow - plain) / LATENCY_S)
        rows.append([name, str(requests), f"{plain:.2f} s", f"{slow:.2f} s", str(waited)])
    heads = ["", "requests before it", "to RunInstances", "with 100 ms more each", "one by one"]
    measure.show(heads, rows)


def _print_lines(bench: Bench, runs: int) -> None:
    delays: list[float] = []
    for _ in range(max(runs // 2, 1)):
        _, path = bench.job(TICKS.format(python=sys.executable, lines=LINES))
        child = bench.rig.popen(
            [LLMCLOUD, "submit", path],
            {"LLMCLOUD_HOME": str(bench.folder / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert child.stdout
        delays += [time.time() - float(line) for line in child.stdout]
        child.wait()
    ordered = sorted(delays)
    figures = [statistics.median(ordered), ordered[int(len(ordered) * 0.95)], ordered[-1]]
    rows = [["printed on the node, to shown", *(f"{each * 1000:,.0f} ms" for each in figures)]]
    measure.show([f"of {len(ordered)} lines", "median", "95 of 100", "longest"], rows)


def _print_interruptions(bench: Bench, runs: int) -> None:
    still: list[float] = []
    repeated: list[int] = []
    for _ in range(runs):
        more = "checkpoints: {interval: 1s}\nresources: {spot: true}\n"
        name, path = bench.job(f"{sys.executable} counts.py", more)
        bench.run(LLMCLOUD, "submit", path, "--detach")
        _await(bench, name, lambda steps: len(steps) > 30)
        (instance,) = list(bench.rig.machines.by_address.values())
        with bench.rig.cloud.world.lock:
            bench.rig.cloud.machines.interrupt(instance.boot.instance_id, 10.0)
        steps = _await(bench, name, _came_back)
        before, after = next(pair for pair in itertools.pairwise(steps) if _is_restart(*pair))
        still.append(after[1] - before[1])
        repeated.append(before[0] - after[0] + 1)
        bench.run(LLMCLOUD, "cancel", name)
    row = ["from the last step to the next", f"{statistics.median(still):.1f} s"]
    row.append(f"{statistics.median(repeated):g}")
    measure.show([f"a notice, {runs} times", "median", "steps done again"], [row])


def _came_back(steps: Steps) -> bool:
    return any(_is_restart(*pair) for pair in itertools.pairwise(steps))


def _is_restart(before: tuple[int, float], after: tuple[int, float]) -> bool:
    """Tell whether another attempt began between two steps: the last one is not saved any more."""
    return after[0] <= before[0] or after[1] - before[1] > STILL_S


def _await(bench: Bench, name: str, enough: Callable[[Steps], bool]) -> Steps:
    """Return the steps that a job did, as soon as they are enough."""

    def found() -> Steps:
        lines = bench.run(LLMCLOUD, "logs", name).stdout.splitlines()
        words = [line.split() for line in lines if line.startswith("step ")]
        steps = [(int(each[1]), float(each[2])) for each in words]
        return steps if enough(steps) else []

    return eventually(found, f"the steps of {name}", DEADLINE_S)


if __name__ == "__main__":
    main()
