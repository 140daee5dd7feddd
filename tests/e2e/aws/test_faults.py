"""What the account, the network and the machines do to a job: each told as it is, nothing left."""

from __future__ import annotations

import re
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.aws.conftest import BUCKET, REGION
from tests.e2e.conftest import LLMCLOUD, Done, eventually
from tests.rig.aws.faults import Rule

from llmcloud.runtime import layout

if TYPE_CHECKING:
    from tests.e2e.aws.conftest import Submitter

GOLDEN = Path(__file__).parent / "golden"
HELD_S = 60.0
LONG_AGO = "2020-01-01T00:00:00Z"
OTHER = "us-west-2"
EVERYWHERE = f"region: [{REGION}, {OTHER}]\n"
SMALL = "resources: {instance_type: m7i.large}\n"
ANSWERS = {  # how each service throttles
    "ec2": "RequestLimitExceeded",
    "iam": "Throttling",
    "sts": "Throttling",
    "ssm": "ThrottlingException",
    "s3": "SlowDown",
}


SAVES = """
    import os, signal, sys, time
    from pathlib import Path
    def save(*_):
        Path(os.environ["LLMCLOUD_CHECKPOINT_DIR"], "step-7.bin").write_text("saved")
        sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    print("begun", flush=True)
    time.sleep(1000)
"""


def panel(err: str) -> str:
    """Return the panel of a failure, with what differs from run to run left out."""
    text = err[err.index("error: ") if "error: " in err else 0 :]
    text = re.sub(r"\b(\w+)-[0-9a-f]{6}-[2-9a-z]{6}\b", r"\1-ID", text.rstrip())
    text = re.sub(r"\b(ami|sg|subnet|i)-[0-9a-f]+\b", r"\1-ID", text)
    text = re.sub(r"(the regions that it has:) .*", r"\1 REGIONS", text)
    return re.sub(r"(policy-document ')\{.*\}", r"\1POLICY", text)


def golden(name: str, seen: str) -> str:
    """Return a panel as it was; one that is removed is written anew, and to be looked at."""
    path = GOLDEN / f"{name}.txt"
    if not path.exists():
        path.write_text(f"{seen}\n")
        pytest.fail(f"{path} was not there: it is now, look at it")
    return path.read_text().removesuffix("\n")


def assert_told(done: Done, code: int, name: str) -> None:
    """Check how a command ended, with its panel."""
    said = panel(done.err)
    assert (done.code, said) == (code, golden(name, said)), done.err


# Who asks


def test_without_credentials_nothing_is_asked(submitter: Submitter) -> None:
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = submitter.cli("submit", submitter.job("anyone", "true"), env=none)
    assert_told(done, 4, "no-credentials")
    assert submitter.left() == {}


def test_a_token_that_has_expired_is_told(submitter: Submitter) -> None:
    submitter.control("faults", code="ExpiredToken", times=0, machine=False)
    done = submitter.cli("submit", submitter.job("late", "true"))
    assert_told(done, 4, "expired-token")


def test_a_token_that_expires_while_a_job_is_followed_loses_nothing(submitter: Submitter) -> None:
    """The job runs on by its own role; the log is there to the last line for who comes back."""
    path = submitter.job("outlives", "for i in $(seq 40); do echo line $i; sleep 0.2; done")
    child = submitter.start("submit", path)
    assert child.stdout
    first = next(line for line in child.stdout if b"line" in line)
    submitter.control("faults", code="ExpiredToken", times=0, machine=False)
    out, err = child.communicate(timeout=60)
    (job,) = set(re.findall(rb"job (\S+) on aws", err))
    assert_told(Done(child.returncode, "", err.decode()), 4, "expired-while-following")
    submitter.rig.cloud.faults.clear()
    seen = (first + out).decode().splitlines()
    done = submitter.cli("logs", "-f", job.decode())
    assert done.code == 0, done.err
    told = re.findall(r"line \d+", done.out)
    assert told == [f"line {number}" for number in range(1, 41)], seen
    assert submitter.cli("wait", job.decode()).code == 0
    assert submitter.left() == {}


def test_a_launch_that_is_not_permitted_names_the_permission(submitter: Submitter) -> None:
    submitter.control(
        "faults", service="ec2", operation="RunInstances", code="UnauthorizedOperation", times=0
    )
    done = submitter.cli("submit", submitter.job("denied", "true", SMALL))
    assert_told(done, 4, "denied-launch")
    assert submitter.left() == {}


def test_who_may_make_no_roles_is_told_what_to_run(submitter: Submitter) -> None:
    submitter.control("faults", service="iam", operation="CreateRole", code="AccessDenied", times=0)
    done = submitter.cli("submit", submitter.job("norole", "true", SMALL))
    assert_told(done, 4, "no-role")
    assert submitter.left() == {}


@pytest.mark.parametrize("service", ["vm", "managed"])
def test_the_role_that_an_administrator_made_is_used(submitter: Submitter, service: str) -> None:
    """Made by the very commands that the refusal prints."""
    submitter.control(
        "faults", service="iam", operation="CreateRole", code="AccessDenied", machine=False
    )
    path = submitter.job("shared", "echo ran as the shared role", f"{SMALL}service: {service}\n")
    done = submitter.cli("submit", path)
    commands = [line.strip() for line in done.err.splitlines() if "aws iam " in line]
    assert len(commands) == 4, done.err
    _run_as_administrator(submitter, commands)
    submitter.control(
        "faults",
        service="iam",
        operation="CreateRole",
        code="AccessDenied",
        machine=False,
        times=0,
    )
    submitter.control("knobs", enforces_iam=True)
    done = submitter.cli("submit", path)
    assert done.code == 0, done.err
    assert "ran as the shared role" in done.out
    assert submitter.left() == {"roles": ["llmcloud-node"], "profiles": ["llmcloud-node"]}


# Where it is asked


def test_a_region_that_the_account_has_not_enabled_is_told(submitter: Submitter) -> None:
    submitter.rig.cloud.world.disabled_regions.add(OTHER)
    path = submitter.job("disabled", "true", SMALL)
    done = submitter.cli("submit", path, "--set", f"region={OTHER}")
    assert_told(done, 4, "disabled-region")


def test_a_region_that_there_is_not_is_told_with_those_that_there_are(
    submitter: Submitter,
) -> None:
    path = submitter.job("nowhere", "true", SMALL)
    done = submitter.cli("submit", path, "--set", "region=us-east-9")
    assert_told(done, 3, "no-such-region")


def test_a_bucket_that_somebody_else_has_is_told(submitter: Submitter) -> None:
    name = BUCKET.replace(REGION, OTHER)
    submitter.rig.cloud.world.taken_buckets.add(name)
    path = submitter.job("taken", "true", SMALL)
    done = submitter.cli("submit", path, "--set", f"region={OTHER}")
    assert_told(done, 6, "taken-bucket")
    assert submitter.left(OTHER) == {}


def test_an_image_that_there_is_not_is_told(submitter: Submitter) -> None:
    more = "resources: {instance_type: m7i.large, image: ami-0123456789abcdef0}\n"
    done = submitter.cli("submit", submitter.job("noimage", "true", more))
    assert_told(done, 6, "no-image")
    assert submitter.left() == {}


def test_a_region_that_lacks_the_usual_image_is_told(submitter: Submitter) -> None:
    submitter.control(
        "faults", service="ssm", operation="GetParameter", code="ParameterNotFound", times=0
    )
    done = submitter.cli("submit", submitter.job("nousual", "true", SMALL))
    assert_told(done, 6, "no-usual-image")
    assert submitter.left() == {}


def test_gc_says_which_regions_are_closed(submitter: Submitter) -> None:
    closed = {"operation": "DescribeInstances", "code": "UnauthorizedOperation", "status": 403}
    submitter.control("faults", service="ec2", times=6, **closed)
    done = submitter.cli("gc", "--dry-run", "--json")
    assert (done.code, done.document) == (0, [])
    told = r"warning: you may not look into these regions of aws: (\S+, ){3}\S+ and \d more\n"
    assert re.fullmatch(told, done.err)


# What there is


def test_no_capacity_anywhere_is_told_of_each_place_in_the_order_of_the_plan(
    submitter: Submitter,
) -> None:
    submitter.control("shortages", code="InsufficientInstanceCapacity")
    path = submitter.job("none", "true", SMALL)
    journal = submitter.rig.cloud.faults.journal
    before = len(journal)
    done = submitter.cli("submit", path, "--set", f"region=[{REGION}, {OTHER}]")
    asked = [
        (each["region"], each["params"]["NetworkInterfaces"][0]["SubnetId"])
        for each in journal[before:]
        if each["operation"] == "RunInstances"
    ]
    assert len(asked) == len(set(asked)) > 4
    assert [region for region, _ in asked] == sorted(region for region, _ in asked)
    told = re.findall(r"\((us-\w+-\d)(\w), m7i.large\) Trying what comes next", done.err)
    assert told == sorted(told)
    assert len(told) == len(asked)
    assert_told(done, 5, "no-capacity")
    for region in (REGION, OTHER):
        assert submitter.left(region) == {}
    job = submitter.cli("list", "--json").document[0]
    assert job["state"] == "failed"


def test_the_second_zone_is_tried_where_the_first_has_none(submitter: Submitter) -> None:
    submitter.control("shortages", code="InsufficientInstanceCapacity", zone=f"{REGION}a")
    done = submitter.cli("submit", submitter.job("zone", "echo trained", SMALL))
    assert done.code == 0, done.err
    assert f"({REGION}a, m7i.large) Trying what comes next" in done.err
    assert _zones(submitter) == [f"{REGION}b"]
    assert submitter.left() == {}


@pytest.mark.parametrize("market", ["on demand", "spot"])
@pytest.mark.parametrize("reason", ["capacity", "quota"])
def test_the_second_region_is_tried_where_the_first_has_none(
    submitter: Submitter, reason: str, market: str
) -> None:
    more = "resources: {instance_type: m7i.large, spot: true}\n" if market == "spot" else SMALL
    is_spot = market == "spot"
    if reason == "capacity":
        none = {"code": "InsufficientInstanceCapacity", "region": REGION, "spot": is_spot}
        submitter.control("shortages", **none)
    else:
        code = "L-34B43A08" if is_spot else "L-1216C47A"
        submitter.control("quotas", region=REGION, code=code, value=0)
    path = submitter.job("elsewhere", "echo trained", more)
    done = submitter.cli("submit", path, "--set", f"region=[{REGION}, {OTHER}]")
    assert done.code == 0, done.err
    assert "trained" in done.out
    assert _zones(submitter) == []
    assert len(_zones(submitter, OTHER)) == 1
    for region in (REGION, OTHER):
        assert submitter.left(region) == {}


def test_a_spot_machine_comes_from_the_zone_that_has_one(submitter: Submitter) -> None:
    """Not from the next region: one zone of the group's after another is tried."""
    for zone in "abc":
        none = {"code": "InsufficientInstanceCapacity", "zone": f"{REGION}{zone}"}
        submitter.control("shortages", **none, spot=True)
    more = "resources: {instance_type: m7i.large, spot: true}\n"
    path = submitter.job("zones", "echo trained", more)
    done = submitter.cli("submit", path, "--set", f"region=[{REGION}, {OTHER}]")
    assert done.code == 0, done.err
    assert _zones(submitter) == [f"{REGION}d"]
    assert submitter.left() == {}


# How it is answered


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_connections_that_break_at_every_call_cost_nothing(
    submitter: Submitter, after: bool
) -> None:
    """Every other request of everyone is cut off, whether it was done or not."""
    rules = [Rule(reset=True, after=after, skip=2 * n) for n in range(200)]
    submitter.rig.cloud.faults.rules += rules
    done = submitter.cli("submit", submitter.job("cut", "echo trained", SMALL))
    submitter.rig.cloud.faults.clear()
    assert done.code == 0, done.err
    assert done.out.count("trained") == 1
    assert len(_zones(submitter)) == 1
    assert submitter.left() == {}


def test_throttling_at_every_call_is_waited_out(submitter: Submitter) -> None:
    rules = [
        Rule(service=service, code=code, skip=2 * n, machine=False)
        for service, code in ANSWERS.items()
        for n in range(60)
    ]
    submitter.rig.cloud.faults.rules += rules
    done = submitter.cli("submit", submitter.job("slow", "echo trained", SMALL), "--detach")
    submitter.rig.cloud.faults.clear()
    assert done.code == 0, done.err
    (job,) = set(re.findall(r"job (\S+) on aws", done.err))
    assert submitter.cli("wait", job).code == 0
    assert len(_zones(submitter)) == 1
    assert submitter.left() == {}


# What becomes of the machines


def test_a_setup_that_fails_shows_its_log(submitter: Submitter) -> None:
    path = submitter.job("setup", "true", "setup: echo preparing it; exit 3\n")
    done = submitter.cli("submit", path)
    assert done.code == 7
    assert "preparing it" in done.out
    assert "setup failed with exit code 3." in done.err
    assert submitter.left() == {}


def test_a_boot_that_fails_shows_what_the_machine_printed(submitter: Submitter) -> None:
    """The node's program is not what was staged: what the boot script printed is all there is."""
    bucket = f"llmcloud-broken-{uuid.uuid4().hex[:8]}"
    path = submitter.job("noboot", "true", f"{SMALL}store: s3://{bucket}\n")
    submitter.control("faults", operation="RunInstances", hold=True, machine=False)
    child = submitter.start("submit", path)
    eventually(lambda: submitter.rig.cloud.faults.await_held(1), "the submit is held")
    s3 = submitter.client("s3")
    staged = s3.list_objects_v2(Bucket=bucket, Prefix="code/")["Contents"]
    (program,) = (each["Key"] for each in staged if each["Key"].endswith(".pyz"))
    s3.put_object(Bucket=bucket, Key=program, Body=b"garbage")
    submitter.rig.cloud.faults.clear()
    out, err = child.communicate(timeout=HELD_S)
    assert child.returncode == 7, err
    assert b"node.pyz: FAILED" in out
    assert submitter.left() == {}


@pytest.mark.parametrize("who", ["wait", "gc"])
def test_a_machine_that_never_boots_is_given_up(submitter: Submitter, who: str) -> None:
    """Its time is up; whoever looks first ends it: who follows it, or gc."""
    submitter.control("knobs", hangs=True)
    job = submitter.submit(submitter.job("hangs", "true", SMALL))
    (machine,) = submitter.instances()
    assert submitter.state(job)["state"] == "provisioning"
    submitter.rig.cloud.machines.get(machine["InstanceId"]).launch_time = LONG_AGO
    if who == "wait":
        done = submitter.cli("wait", job)
        assert_told(done, 7, "never-boots")
    else:
        assert submitter.cli("gc", "--yes").code == 0
    assert submitter.state(job)["state"] == "lost"
    assert "This machine hangs." in submitter.log(job)
    assert submitter.left() == {}


def test_a_job_ends_at_its_limit(submitter: Submitter) -> None:
    more = f"{SMALL}limits: {{max_duration: 8s}}\n"
    done = submitter.cli("submit", submitter.job("limit", "echo begun; sleep 1000", more))
    assert done.code == 7
    assert "limits.max_duration (8s)" in done.err
    assert submitter.left() == {}


def test_a_machine_whose_node_hangs_switches_itself_off_after_the_limit(
    submitter: Submitter,
) -> None:
    """The second line: the node is stopped and can't see its limit, but shutdown(8) can."""
    submitter.control("knobs", minute_s=1)
    more = f"{SMALL}limits: {{max_duration: 1m}}\n"
    job = submitter.submit(submitter.job("stuck", "kill -STOP $PPID; sleep 1000", more))
    done = submitter.cli("wait", job)
    assert done.code == 7
    assert "All of its machines are gone." in done.err
    assert submitter.left() == {}


# Who changes their mind


@pytest.mark.parametrize(
    ("state", "held"),
    [
        ("submitted", {"operation": "PutObject", "key": "status.json", "skip": 1}),
        ("staging", {"operation": "PutObject", "key": ".tar.zst"}),
        ("provisioning", {"operation": "RunInstances"}),
    ],
    ids=["submitted", "staging", "provisioning"],
)
def test_a_cancel_during_the_submit_ends_both(
    submitter: Submitter, state: str, held: dict[str, Any]
) -> None:
    path = submitter.job("early", "sleep 1000", SMALL)
    submitter.control("faults", **held, hold=True, machine=False)
    submitting = submitter.start("submit", path)
    faults = submitter.rig.cloud.faults
    eventually(lambda: faults.await_held(1), "the submit is held")
    job = submitter.cli("list", "--json").document[0]
    assert job["state"] == state
    cancelling = submitter.start("cancel", job["job"])
    _await_object(submitter, layout.cancel(job["job"]))
    faults.clear()
    _, err = submitting.communicate(timeout=HELD_S)
    assert submitting.returncode == 8, err
    _, err = cancelling.communicate(timeout=HELD_S * 3)
    assert cancelling.returncode == 0, err
    assert submitter.state(job["job"])["state"] == "cancelled"
    assert submitter.left() == {}


def test_a_cancel_while_the_machine_boots_ends_it(submitter: Submitter) -> None:
    submitter.control("faults", operation="GetObject", key=".pyz", machine=True, hold=True)
    job = submitter.submit(submitter.job("booting", "echo never", SMALL))
    eventually(lambda: submitter.rig.cloud.faults.await_held(1), "the machine boots")
    cancelling = submitter.start("cancel", job)
    _await_object(submitter, layout.cancel(job))
    submitter.rig.cloud.faults.clear()
    _, err = cancelling.communicate(timeout=HELD_S * 3)
    assert cancelling.returncode == 0, err
    assert submitter.state(job)["state"] == "cancelled"
    assert "never\n" not in submitter.log(job)
    assert submitter.left() == {}


def test_a_cancel_of_what_runs_saves_it(submitter: Submitter) -> None:
    path = submitter.job("running", "exec python3 saves.py", SMALL, saves__py=SAVES)
    job = submitter.submit(path)
    submitter.await_log(job, "begun")
    assert submitter.cli("cancel", job).code == 0
    assert submitter.state(job)["state"] == "cancelled"
    listed = submitter.cli("checkpoints", "list", job, "--json").document
    assert [each["step"] for each in listed] == [7]
    assert submitter.left() == {}


def test_a_cancel_of_what_saves_ends_it(submitter: Submitter) -> None:
    submitter.control("faults", operation="PutObject", key="/outputs/", machine=True, hold=True)
    job = submitter.submit(submitter.job("saving", "echo done > outputs/it", SMALL))
    eventually(lambda: submitter.rig.cloud.faults.await_held(1), "the node saves")
    cancelling = submitter.start("cancel", job)
    _await_object(submitter, layout.cancel(job))
    submitter.rig.cloud.faults.clear()
    _, err = cancelling.communicate(timeout=HELD_S * 3)
    assert cancelling.returncode == 0, err
    assert submitter.state(job)["state"] in {"succeeded", "cancelled"}
    assert submitter.object(f"{layout.outputs(job, 0)}outputs/it") == b"done\n"
    assert submitter.left() == {}


def test_ctrl_c_during_a_submit_says_how_to_go_on(submitter: Submitter) -> None:
    path = submitter.job("ctrlc", "echo trained", SMALL)
    submitter.control("faults", operation="CreateRole", hold=True, machine=False)
    child = submitter.start("submit", path)
    eventually(lambda: submitter.rig.cloud.faults.await_held(1), "the submit is held")
    submitter.send(child, signal.SIGINT)
    submitter.rig.cloud.faults.clear()
    _, err = child.communicate(timeout=HELD_S)
    assert child.returncode == 130
    assert b"The same submit carries on; llmcloud gc forgets it." in err
    assert b"Traceback" not in err
    done = submitter.cli("submit", path)
    assert done.code == 0, done.err
    assert "carrying on with" in done.err
    assert done.out.count("trained") == 1
    assert submitter.left() == {}


@pytest.mark.parametrize(("which", "fill"), [("LLMCLOUD_HOME", "1m"), ("TMPDIR", "200k")])
def test_a_full_disk_of_the_submitter_is_told(submitter: Submitter, which: str, fill: str) -> None:
    """In a mount namespace of its own, which nobody has to unmount."""
    disk = submitter.root / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {disk}; head -c {fill} /dev/zero >{disk}/x"
    argv = ["unshare", "--mount", "sh", "-c", f'{mount}; exec "$@"', "sh", *LLMCLOUD]
    path = submitter.job("full", "true", SMALL)
    environ = {**submitter.environ, which: str(disk)}
    child = submitter.rig.popen([*argv, "submit", path], environ, stdout=-1, stderr=-1)
    submitter.started.append(child)
    _, err = child.communicate(timeout=HELD_S)
    said = err.decode().replace(str(disk), "DISK")
    assert_told(Done(child.returncode, "", said), 6, f"full-{which.lower()}")
    assert submitter.left() == {}


def _zones(submitter: Submitter, region: str = REGION) -> list[str]:
    """Return the zones of all machines that there ever were in a region."""
    found = submitter.client("ec2", region).describe_instances()["Reservations"]
    return [i["Placement"]["AvailabilityZone"] for each in found for i in each["Instances"]]


def _await_object(submitter: Submitter, key: str) -> None:
    s3 = submitter.client("s3")
    listed = lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix=key)  # noqa: E731
    eventually(lambda: listed().get("KeyCount"), key)


def _run_as_administrator(submitter: Submitter, commands: list[str]) -> None:
    """Do what lines for the AWS CLI say: `aws iam OPERATION --name VALUE…`."""
    import shlex

    iam = submitter.client("iam")
    for command in commands:
        _, _, operation, *rest = shlex.split(command)
        names = ["".join(word.title() for word in each[2:].split("-")) for each in rest[::2]]
        getattr(iam, operation.replace("-", "_"))(**dict(zip(names, rest[1::2], strict=True)))
