"""Machines by themselves, which really boot: made, listed, connected to, ended."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.aws.conftest import REGION
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.aws.conftest import Submitter
    from tests.e2e.conftest import Done

PLUGIN = Path(__file__).parents[2] / "rig" / "aws" / "inside" / "session_manager_plugin.py"
MACHINE = ("--type", "m7i.large", "--region", REGION)


@pytest.fixture
def tenant(submitter: Submitter) -> Iterator[Submitter]:
    """Give someone whose machines end with the test."""
    yield submitter
    if left := [each["InstanceId"] for each in submitter.instances()]:
        submitter.client("ec2").terminate_instances(InstanceIds=left)


@pytest.fixture
def with_plugin(tenant: Submitter) -> Submitter:
    """Give someone who has installed the plugin: a stand-in, as the real one needs the real AWS."""
    folder = tenant.root / "bin"
    folder.mkdir()
    program = folder / "session-manager-plugin"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {PLUGIN} "$@"\n')
    program.chmod(0o755)
    tenant.environ["PATH"] = f"{folder}:{tenant.environ['PATH']}"
    return tenant


def create(submitter: Submitter, name: str, *more: str) -> dict[str, Any]:
    done = submitter.cli("instances", "create", name, *MACHINE, "--yes", "--json", *more)
    assert done.code == 0, done.err
    return dict(done.document)


def delete(submitter: Submitter, *names: str) -> Done:
    done = submitter.cli("instances", "delete", *names, "--yes")
    assert done.code == 0, done.err
    return done


def test_a_machine_is_made_listed_used_and_ended(with_plugin: Submitter) -> None:
    made = create(with_plugin, "box", "--label", "team=nlp")
    assert (made["name"], made["state"], made["region"]) == ("box", "running", REGION)
    assert made["labels"] == {"team": "nlp"}

    (listed,) = with_plugin.cli("instances", "list", "--json").document
    assert (listed["id"], listed["expires_at"]) == (made["id"], made["expires_at"])
    assert "box" in with_plugin.cli("instances", "list").out

    said = with_plugin.cli("instances", "ssh", "box", "--", "hostname; echo two")
    (instance,) = with_plugin.instances()
    address = instance["PrivateIpAddress"].replace(".", "-")
    assert (said.code, said.out) == (0, f"ip-{address}\ntwo\n")

    shell = with_plugin.cli("instances", "ssh", "box")  # which ends with its stdin
    assert shell.code == 0
    assert "Starting session with SessionId" in shell.out

    delete(with_plugin, "box")
    assert with_plugin.left() == {}
    assert with_plugin.cli("instances", "list", "--json").document == []


def test_a_command_ends_as_it_does_there(with_plugin: Submitter) -> None:
    """Which the plugin does not tell; nor does what it says itself get into the output."""
    create(with_plugin, "box")
    failed = with_plugin.cli("instances", "ssh", "box", "printf 'no end'; exit 3")
    assert (failed.code, failed.out) == (3, "no end")
    many = with_plugin.cli("instances", "ssh", "box", "seq", "20000")
    assert many.out == "".join(f"{number}\n" for number in range(1, 20001))
    quoted = with_plugin.cli("instances", "ssh", "box", "echo \"it's\" '$HOME'")
    assert quoted.out == "it's $HOME\n"
    delete(with_plugin, "box")


def test_at_its_time_a_machine_ends_by_itself(tenant: Submitter) -> None:
    """And gc removes what was made for it; so does a new machine of its name."""
    made = create(tenant, "brief", "--for", "15s")
    eventually(lambda: not tenant.instances(), "it has ended")
    assert tenant.left()["security groups"] == ["llmcloud-instance.brief"]
    again = create(tenant, "brief", "--for", "15s")
    assert again["id"] != made["id"]
    eventually(lambda: not tenant.instances(), "it has ended, too")
    done = tenant.cli("gc", "--yes", "--json")
    assert done.code == 0, done.err
    assert {each["kind"] for each in done.document} == {"instance's group", "instance's role"}
    assert tenant.left() == {}


@pytest.mark.parametrize(
    ("operation", "when"),
    [("CreateSecurityGroup", "after"), ("RunInstances", "before"), ("RunInstances", "after")],
)
def test_a_create_that_was_killed_and_again_make_one_machine(
    tenant: Submitter, operation: str, when: str
) -> None:
    """At each request that makes something, also when EC2 does not yet show what was made."""
    tenant.control("knobs", unseen_looks=3)
    tenant.control("faults", operation=operation, hold=True, after=when == "after")
    child = tenant.start("instances", "create", "box", *MACHINE, "--yes")
    faults = tenant.rig.cloud.faults
    (held,) = eventually(lambda: faults.await_held(1), f"{operation} is held")
    tenant.send(child, signal.SIGKILL)
    child.wait()
    faults.release(held, "drop")
    create(tenant, "box")
    assert len(tenant.instances()) == 1
    delete(tenant, "box")
    assert tenant.left() == {}


def test_an_interrupted_create_says_what_may_be_there(tenant: Submitter) -> None:
    tenant.control("faults", operation="RunInstances", hold=True, after=True)
    child = tenant.start("instances", "create", "box", *MACHINE, "--yes")
    faults = tenant.rig.cloud.faults
    (held,) = eventually(lambda: faults.await_held(1), "RunInstances is held")
    tenant.send(child, signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert b"llmcloud instances delete box --yes" in err
    faults.release(held, "drop")
    delete(tenant, "box")
    assert tenant.left() == {}
