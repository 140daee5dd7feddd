"""With a hypervisor, instances are what it boots and kills; here it only writes down."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.aws.account import ROOT
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tests.rig.aws.cloud import Cloud
    from tests.rig.aws.machine import Boot

IMAGE = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


@dataclass
class Recorder:
    """A hypervisor whose machines boot when they are let, and die at once."""

    booted: list[Boot] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    notices: list[tuple[str, str, datetime]] = field(default_factory=list)
    may_boot: threading.Event = field(default_factory=threading.Event)
    on_shutdown: Callable[[str], None] = lambda _: None

    def boot(self, boot: Boot) -> None:
        self.booted.append(boot)
        self.may_boot.wait(30)

    def kill(self, instance_id: str) -> None:
        self.killed.append(instance_id)

    def notice(self, instance_id: str, action: str, time: datetime) -> None:
        self.notices.append((instance_id, action, time))

    def console(self, instance_id: str) -> bytes:
        return f"{instance_id} has booted".encode()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def own(recorder: Recorder) -> Iterator[Cloud]:
    """Give a cloud in this process, with the recorder."""
    from tests.rig.aws.cloud import Cloud, Options

    with Cloud(Options(hypervisor=recorder)) as cloud:
        yield cloud
        assert not cloud.world.problems


@pytest.fixture
def clients(own: Cloud, session: Any) -> Iterator[Callable[[str], Any]]:
    made: dict[str, Any] = {}

    def client_of(service: str) -> Any:
        made[service] = made.get(service) or session.client(
            service,
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{own.port}",
            aws_access_key_id=ROOT[0],
            aws_secret_access_key=ROOT[1],
        )
        return made[service]

    yield client_of
    for each in made.values():
        each.close()


@pytest.fixture
def ids(clients: Callable[[str], Any]) -> list[str]:
    """Give two instances that begin to boot."""
    iam = clients("iam")
    iam.create_role(RoleName="node", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="node")
    iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
    image = clients("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"]
    made = clients("ec2").run_instances(
        ImageId=image,
        InstanceType="m5.large",
        MinCount=2,
        MaxCount=2,
        UserData="#!/bin/sh\necho ü\n",
        IamInstanceProfile={"Name": "node"},
        InstanceInitiatedShutdownBehavior="terminate",
        InstanceMarketOptions={"MarketType": "spot"},
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "llmcloud:job", "Value": "a-job"}]}
        ],
    )
    return [each["InstanceId"] for each in made["Instances"]]


def _states(clients: Callable[[str], Any], ids: list[str]) -> set[str]:
    found = clients("ec2").describe_instances(InstanceIds=ids)["Reservations"]
    return {one["State"]["Name"] for each in found for one in each["Instances"]}


def test_an_instance_is_booted_with_what_it_needs_to_know(
    clients: Callable[[str], Any],
    ids: list[str],
    recorder: Recorder,
) -> None:
    """It is pending until it has booted; its role's credentials are known to the cloud."""
    eventually(lambda: len(recorder.booted) == 2)
    assert _states(clients, ids) == {"pending"}
    recorder.may_boot.set()
    eventually(lambda: _states(clients, ids) == {"running"})
    first, second = sorted(recorder.booted, key=lambda boot: boot.launch_index)
    assert [first.instance_id, second.instance_id] == ids
    assert first.user_data == "#!/bin/sh\necho ü\n".encode()
    assert (first.region, first.zone, first.instance_type) == (
        "us-east-1",
        "us-east-1a",
        "m5.large",
    )
    assert first.spot
    assert first.tags["llmcloud:job"] == "a-job"
    assert first.address != second.address
    assert first.credentials
    credentials = first.credentials()
    assert (credentials.role, len(credentials.session_token) > 20) == ("node", True)
    console = clients("ec2").get_console_output(InstanceId=ids[0])["Output"]
    assert console == f"{ids[0]} has booted"


def test_an_instance_is_killed_when_it_is_terminated(
    clients: Callable[[str], Any],
    ids: list[str],
    recorder: Recorder,
) -> None:
    """But only once it has booted, or it would boot after that."""
    eventually(lambda: len(recorder.booted) == 2)
    clients("ec2").terminate_instances(InstanceIds=ids)
    assert _states(clients, ids) == {"shutting-down"}
    assert not recorder.killed
    recorder.may_boot.set()
    eventually(lambda: _states(clients, ids) == {"terminated"})
    assert sorted(recorder.killed) == sorted(ids)


def test_an_instance_that_switches_itself_off_is_terminated(
    clients: Callable[[str], Any],
    ids: list[str],
    recorder: Recorder,
) -> None:
    recorder.may_boot.set()
    eventually(lambda: _states(clients, ids) == {"running"})
    recorder.on_shutdown(ids[0])
    eventually(lambda: _states(clients, ids[:1]) == {"terminated"})
    assert _states(clients, ids[1:]) == {"running"}


def test_an_interruption_is_announced_and_then_happens(
    own: Cloud,
    clients: Callable[[str], Any],
    ids: list[str],
    recorder: Recorder,
) -> None:
    recorder.may_boot.set()
    own.machines.interrupt(ids[0], 0.05)
    eventually(lambda: recorder.notices)
    ((instance_id, action, _),) = recorder.notices
    assert (instance_id, action) == (ids[0], "terminate")
    eventually(lambda: _states(clients, ids[:1]) == {"terminated"})
