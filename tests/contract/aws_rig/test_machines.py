"""An instance that boots: its user data, its metadata service, its peers, its end."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.rig.aws.hypervisor import HAS_CLOUD_INIT
from tests.rig.aws.machine import Boot, RoleCredentials
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.aws.hypervisor import Machines

NUMBERS = itertools.count(1)
PROFILE = "arn:aws:iam::123456789012:instance-profile/llmcloud-job"
EXPIRATION = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
CREDENTIALS = RoleCredentials("llmcloud-role", "AKIA1", "secret", "session", EXPIRATION)
# As our boot script does it.
ASK = """#!/bin/sh
M=http://169.254.169.254/latest
T=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $M/api/token)
ask() { curl -fsS -H "X-aws-ec2-metadata-token: $T" "$M/$1" && echo; }
status() { curl -s -o /dev/null -w '%{http_code} ' "$@"; }
"""
OFF = "shutdown -h now\n"
SAID = "/var/said"


@dataclass
class Bench:
    """Instances of one test, and which of them have reported that they switched off."""

    machines: Machines
    off: list[str] = field(default_factory=list)
    booted: list[str] = field(default_factory=list)

    def boot(self, script: str, **changes: object) -> Boot:
        number = next(NUMBERS)
        at = ("eu-west-1", "eu-west-1b", "g5.xlarge")
        user_data = script.encode()
        boot = Boot(f"i-{number:04}", f"172.31.1.{number}", user_data, *at, 0, "ami-1")
        boot = replace(boot, **changes)
        self.machines.boot(boot)
        self.booted.append(boot.instance_id)
        return boot

    def printed(self, script: str, **changes: object) -> list[str]:
        """Return what a script printed until it switched its instance off."""
        return self.said(self.saying(script, **changes))

    def saying(self, script: str, **changes: object) -> Boot:
        """Boot an instance whose script prints to a file: cloud-init's log has more in it."""
        shell, _, rest = script.partition("\n")
        return self.boot(f"{shell}\nexec >{SAID} 2>&1\n{rest}\n{OFF}", **changes)

    def said(self, boot: Boot) -> list[str]:
        """Return what it printed there until it switched itself off."""
        eventually(lambda: boot.instance_id in self.off)
        return self.machines.written(boot.instance_id, SAID).read_text().splitlines()

    def await_said(self, boot: Boot, text: str) -> None:
        eventually(lambda: text in self.machines.console(boot.instance_id).decode())


@pytest.fixture
def bench(machines: Machines) -> Iterator[Bench]:
    """Give a place to boot instances in; none outlives the test."""
    made = Bench(machines)
    machines.on_shutdown = made.off.append
    yield made
    for instance_id in made.booted:
        machines.kill(instance_id)


def test_user_data_runs_as_root_in_the_root_folder_without_a_home(bench: Bench) -> None:
    said = bench.printed("#!/bin/sh\nid -u; pwd; uname -n; hostname -f; echo ${HOME-none}")
    host = said[2]
    assert said[:2] == ["0", "/"]
    assert host.startswith("ip-172-31-1-")
    assert said[3:] == [f"{host}.eu-west-1.compute.internal", "none"]


def test_what_it_printed_is_in_cloud_inits_log(bench: Bench) -> None:
    """The file is read outside; the same is the console's output."""
    boot = bench.boot("#!/bin/sh\necho out; echo err >&2; exit 3\n")
    bench.await_said(boot, "out\nerr\n")
    log = bench.machines.written(boot.instance_id, "/var/log/cloud-init-output.log")
    assert "out\nerr\n" in log.read_text()
    assert bench.machines.is_running(boot.instance_id)


def test_any_interpreter_can_run_it(bench: Bench) -> None:
    assert bench.printed("#!/bin/bash\na=(1 2); echo ${#a[@]}") == ["2"]


def test_a_cloud_config_is_done_by_cloud_init_and_refused_without(bench: Bench) -> None:
    boot = bench.boot("#cloud-config\nruncmd: [[shutdown, now]]\n")
    if HAS_CLOUD_INIT:
        eventually(lambda: bench.off == [boot.instance_id])
    else:
        bench.await_said(boot, "the rig runs only scripts")


def test_the_metadata_service_answers_only_with_a_token(bench: Bench) -> None:
    script = """
id=$M/meta-data/instance-id
status $id
status -H 'X-aws-ec2-metadata-token: wrong' $id
status -X PUT $M/api/token
status -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21601' $M/api/token
status -X PUT -H 'X-Forwarded-For: 10.0.0.1' -H 'X-aws-ec2-metadata-token-ttl-seconds: 6' \
    $M/api/token
status -H "X-aws-ec2-metadata-token: $T" $id
"""
    assert bench.printed(ASK + script) == ["401 401 400 400 403 200 "]


def test_a_token_of_one_machine_is_none_of_anothers(bench: Bench) -> None:
    first = bench.boot(ASK + "echo token=$T=\n")
    bench.await_said(first, "=\n")
    token = bench.machines.console(first.instance_id).decode().split("=")[1]
    asked = f"status -H 'X-aws-ec2-metadata-token: {token}' $M/meta-data/instance-id"
    assert bench.printed(ASK + asked) == ["401 "]


def test_a_token_expires(bench: Bench) -> None:
    script = """
T=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 1' $M/api/token)
until [ "$(status -H "X-aws-ec2-metadata-token: $T" $M/meta-data/)" = "401 " ]; do :; done
echo expired
"""
    assert bench.printed(ASK + script) == ["expired"]


def test_a_machine_learns_what_it_is(bench: Bench) -> None:
    names = ("ami-launch-index", "instance-type", "placement/region", "services/domain")
    names += ("placement/availability-zone", "instance-life-cycle", "tags/instance/llmcloud:job")
    script = "".join(f"ask meta-data/{name}\n" for name in names)
    said = bench.printed(ASK + script, launch_index=3, spot=True, tags={"llmcloud:job": "j-1"})
    assert said[:4] == ["3", "g5.xlarge", "eu-west-1", "amazonaws.com"]
    assert said[4:] == ["eu-west-1b", "spot", "j-1"]


def test_each_machine_is_told_its_own_name_and_address(bench: Bench) -> None:
    script = ASK + "ask meta-data/instance-id; ask meta-data/local-ipv4; ask user-data | wc -l\n"
    for boot in [bench.saying(script) for _ in range(2)]:
        lines = boot.user_data.count(b"\n")
        assert bench.said(boot) == [boot.instance_id, boot.address, str(lines + 1)]


def test_folders_are_listed_as_amazons_are(bench: Bench) -> None:
    script = "ask meta-data/placement/; ask meta-data/services\nask meta-data/ | grep iam"
    said = bench.printed(ASK + script)
    assert said == ["availability-zone", "region", "domain", "partition"]


def test_the_identity_document_names_the_account(bench: Bench) -> None:
    said = bench.printed(ASK + "ask dynamic/instance-identity/document")
    document = json.loads("\n".join(said))
    assert (document["accountId"], document["region"]) == ("123456789012", "eu-west-1")


def test_the_role_of_the_profile_is_handed_out_and_kept(bench: Bench) -> None:
    """It is made once, as long as it does not expire soon."""
    made = []

    def credentials() -> RoleCredentials:
        made.append(1)
        return CREDENTIALS

    script = """
ask meta-data/ | grep iam
R=$(ask meta-data/iam/security-credentials/); echo $R
ask meta-data/iam/security-credentials/$R; echo ,; ask meta-data/iam/info
"""
    said = bench.printed(ASK + script, profile_arn=PROFILE, credentials=credentials)
    assert said[:2] == ["iam/", "llmcloud-role"]
    keys, info = json.loads(f"[{''.join(said[2:])}]")
    assert (keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"]) == (
        ("AKIA1", "secret", "session")
    )
    assert (keys["Code"], keys["Expiration"]) == ("Success", "2040-01-02T03:04:05Z")
    assert info["InstanceProfileArn"] == PROFILE
    assert made == [1]


def test_credentials_that_are_about_to_expire_are_made_anew(bench: Bench) -> None:
    soon = replace(CREDENTIALS, expiration=datetime.now(UTC) + timedelta(minutes=4))
    made = itertools.count()
    script = "ask meta-data/iam/security-credentials/\n" * 2
    first, second = bench.printed(
        ASK + script,
        profile_arn=PROFILE,
        credentials=lambda: replace(soon, role=f"role-{next(made)}"),
    )
    assert first != second


def test_what_is_not_there_is_404(bench: Bench) -> None:
    paths = ("spot/instance-action", "spot/termination-time", "iam/info", "none", "")
    paths += ("events/recommendations/rebalance", "iam/security-credentials/")
    asked = "".join(f'status -H "X-aws-ec2-metadata-token: $T" $M/meta-data/{p}\n' for p in paths)
    assert bench.printed(ASK + asked) == ["404 404 404 404 200 404 404 "]


def test_a_spot_notice_is_announced(bench: Bench) -> None:
    script = """
echo waiting >>/var/log/cloud-init-output.log
until ask meta-data/spot/instance-action 2>/dev/null; do :; done | tail -n 1
ask meta-data/spot/termination-time; ask meta-data/events/recommendations/rebalance
"""
    boot = bench.saying(ASK + script)
    bench.await_said(boot, "waiting")
    bench.machines.notice(boot.instance_id, "terminate", datetime(2030, 1, 1, tzinfo=UTC))
    action, when, rebalance = bench.said(boot)
    assert json.loads(action) == {"action": "terminate", "time": "2030-01-01T00:00:00Z"}
    assert when == "2030-01-01T00:00:00Z"
    assert "noticeTime" in json.loads(rebalance)


def test_two_machines_reach_each_other_and_nothing_outside(bench: Bench) -> None:
    serving = "#!/bin/sh\necho here >/srv/index.html; exec python3 -m http.server -d /srv 8000\n"
    server = bench.boot(serving)
    script = f"""
until curl -fs http://{server.address}:8000/; do :; done
host=ip-{server.address.replace(".", "-")}.eu-west-1.compute.internal
curl -s http://$host:8000/
curl -s -m 5 http://192.0.2.1/; echo $?
getent hosts example.org; echo $?
"""
    assert bench.printed("#!/bin/sh" + script) == ["here", "here", "7", "2"]


@pytest.mark.parametrize("command", ["shutdown -h now", "poweroff", "/sbin/halt", "shutdown +0"])
def test_switching_off_ends_all_and_is_reported_once(bench: Bench, command: str) -> None:
    boot = bench.boot(f"#!/bin/sh\nsetsid sleep 1000 &\necho before\n{command}\nsleep 1000\n")
    eventually(lambda: bench.off)
    bench.machines.kill(boot.instance_id)
    assert bench.off == [boot.instance_id]
    assert b"before\n" in bench.machines.console(boot.instance_id)


def test_processes_are_asked_to_end_before_the_power_goes(bench: Bench) -> None:
    script = "trap 'echo saved; exit' TERM\n(poweroff) &\nwhile :; do wait; done"
    assert bench.printed(f"#!/bin/sh\n{script}") == ["saved"]


def test_a_scheduled_shutdown_can_be_cancelled(bench: Bench) -> None:
    """The timer is a process of its own group; it is there, and then it is not."""
    script = """#!/bin/sh
shutdown -h +60
until pid=$(cat /run/shutdown.pid 2>/dev/null) && [ "$pid" ]; do :; done
pgrep -g $pid sleep >/dev/null && echo planned
shutdown -c
while pgrep -g $pid >/dev/null; do :; done
echo cancelled
"""
    assert bench.printed(script) == ["planned", "cancelled"]


def test_a_killed_machine_is_gone_without_a_report(bench: Bench) -> None:
    boot = bench.boot("#!/bin/sh\ntrap '' TERM\necho up\nsleep 1000\n")
    bench.await_said(boot, "up")
    bench.machines.kill(boot.instance_id)
    assert not bench.machines.is_running(boot.instance_id)
    assert bench.machines.console(boot.instance_id).endswith(b"up\n")
    eventually(lambda: boot.address not in bench.machines.by_address)
    assert bench.off == []


def test_killing_what_never_was_is_no_error(bench: Bench) -> None:
    bench.machines.kill("i-never")
