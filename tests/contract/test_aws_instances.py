"""Machines by themselves at AWS: where they go when there are none, and what may be missing."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.rig.aws.policy import Asked, decide
from tests.rig.waits import POLL_S
from typer.testing import CliRunner

from llmcloud.cli.app import app
from llmcloud.core.home import Home
from llmcloud.core.rent import Landlord, Tenancy
from llmcloud.core.spec.models import JobSpec
from llmcloud.providers.aws import instance_role, instances, names, sessions
from llmcloud.providers.aws.compute import Aws
from llmcloud.providers.aws.credentials import Account
from llmcloud.runtime import status
from llmcloud.runtime.errors import InvalidRequest, NoCapacity, PermissionDenied, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rig.aws.remote import Remote

    from llmcloud.core.instances import Instances

REGIONS = ("us-east-1", "us-west-2")
USER = "submitter"


@pytest.fixture
def machines(remote: Remote) -> Instances:
    return instances.make()


def tenancy(tmp_path: Path, **more: Any) -> Tenancy:
    document = {
        "name": "box",
        "provider": "aws",
        "run": "true",
        "region": list(REGIONS),
        "resources": {"instance_type": "m7i.large", **more},
        "limits": {"max_duration": "1h"},
    }
    compute = Aws(Home.from_env({"LLMCLOUD_HOME": str(tmp_path)}))
    return Tenancy.plan(JobSpec.model_validate(document), compute, status.now())


def landlord(machines: Instances) -> Landlord:
    return Landlord(machines, wait=lambda _: time.sleep(POLL_S))


def left(region: str) -> list[str]:
    groups = Account().client_of("ec2", region).describe_security_groups()["SecurityGroups"]
    return [each["GroupName"] for each in groups if each["GroupName"] != "default"]


def roles() -> list[str]:
    found = Account().client_of("iam").list_roles()["Roles"]
    return [each["RoleName"] for each in found if each["RoleName"].startswith("llmcloud")]


def deny(*actions: str) -> None:
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": list(actions), "Resource": "*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    Account().client_of("iam").put_user_policy(
        UserName=USER, PolicyName="all", PolicyDocument=document
    )


def test_nothing_is_open_and_all_is_as_it_should_be(
    remote: Remote, machines: Instances, tmp_path: Path
) -> None:
    made = landlord(machines).create(tenancy(tmp_path))
    ec2, iam = Account().client_of("ec2", made.region), Account().client_of("iam")
    (reservation,) = ec2.describe_instances(InstanceIds=[made.id])["Reservations"]
    (instance,) = reservation["Instances"]
    assert "KeyName" not in instance
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    asked = ec2.describe_instance_attribute(
        InstanceId=made.id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert asked["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    (group,) = instance["NetworkInterfaces"][0]["Groups"]
    (found,) = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
    assert found["IpPermissions"] == []
    (volume,) = ec2.describe_volumes()["Volumes"]
    assert (volume["Encrypted"], volume["VolumeType"]) == (True, "gp3")
    profile = instance["IamInstanceProfile"]["Arn"].rpartition("/")[2]
    policy = iam.get_role_policy(RoleName=profile, PolicyName=instance_role.POLICY)
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert {each.partition(":")[0] for each in statement["Action"]} == {"ssm", "ssmmessages"}
    for tagged in (instance, volume, found):
        tags = names.as_dict(tagged["Tags"])
        assert tags[names.INSTANCE] == "box"
        assert tags[names.OWNER] == f"arn:aws:iam::123456789012:user/{USER}"
        assert tags[names.EXPIRES] > tags[names.CREATED]


def test_without_capacity_the_next_region_is_tried_and_nothing_stays_in_the_first(
    remote: Remote, machines: Instances, tmp_path: Path
) -> None:
    remote.post("shortages", code="InsufficientInstanceCapacity", region=REGIONS[0])
    made = landlord(machines).create(tenancy(tmp_path))
    assert made.region == REGIONS[1]
    assert left(REGIONS[0]) == []


def test_a_zone_without_capacity_is_followed_by_the_next(
    remote: Remote, machines: Instances, tmp_path: Path
) -> None:
    remote.post("shortages", code="InsufficientInstanceCapacity", zone="us-east-1a")
    assert landlord(machines).create(tenancy(tmp_path)).zone == "us-east-1b"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("InsufficientInstanceCapacity", "None of the 2 offers"),
        ("InvalidParameterCombination", "refused the request"),
    ],
)
def test_where_there_is_none_nothing_is_left(
    remote: Remote, machines: Instances, tmp_path: Path, code: str, said: str
) -> None:
    remote.post("shortages", code=code)
    with pytest.raises((NoCapacity, InvalidRequest), match=said):
        landlord(machines).create(tenancy(tmp_path))
    assert [left(region) for region in REGIONS] == [[], []]
    assert roles() == []


def test_a_new_role_that_ec2_does_not_know_yet_is_waited_for(
    remote: Remote, machines: Instances, tmp_path: Path
) -> None:
    remote.post("knobs", profile_refusals=3)
    assert landlord(machines).create(tenancy(tmp_path)).region == REGIONS[0]


def test_a_machine_that_is_not_seen_yet_is_not_made_twice(
    remote: Remote, machines: Instances, tmp_path: Path
) -> None:
    """The answer was lost, and EC2 does not describe it yet: that it is one, the token says."""
    remote.post("knobs", unseen_looks=5)
    lost = {"code": "InvalidParameterValue", "message": "Unknown profile.", "after": True}
    remote.post("faults", operation="RunInstances", **lost)
    made = landlord(machines).create(tenancy(tmp_path))
    asked = [each for each in remote.get("requests") if each["operation"] == "RunInstances"]
    assert [each["status"] for each in asked] == [400, 200]
    remote.post("look", times=5)
    found = Account().client_of("ec2", made.region).describe_instances()["Reservations"]
    assert [one["InstanceId"] for each in found for one in each["Instances"]] == [made.id]


def test_a_spot_machine_is_asked_for_once(
    remote: Remote,
    machines: Instances,
    tmp_path: Path,
) -> None:
    made = landlord(machines).create(tenancy(tmp_path, spot=True))
    assert made.spot
    (request,) = (
        Account()
        .client_of("ec2", made.region)
        .describe_spot_instance_requests()["SpotInstanceRequests"]
    )
    assert (request["Type"], request["InstanceInterruptionBehavior"]) == ("one-time", "terminate")


def test_who_may_make_no_role_is_told_what_to_have_run(
    remote: Remote, machines: Instances, tmp_path: Path
) -> None:
    """And once that was run, it is used."""
    deny("iam:CreateRole")
    remote.post("knobs", enforces_iam=True)
    with pytest.raises(PermissionDenied) as raised:
        landlord(machines).create(tenancy(tmp_path))
    assert f"create-role --role-name {instance_role.SHARED}" in raised.value.fix
    assert json.dumps(instance_role.policy()) in raised.value.fix
    remote.post("knobs", enforces_iam=False)
    iam = Account().client_of("iam")
    name = instance_role.SHARED
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(instance_role.TRUST))
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    remote.post("knobs", enforces_iam=True)
    assert landlord(instances.make()).create(tenancy(tmp_path)).name == "box"


def test_the_printed_policy_is_all_that_is_needed(
    remote: Remote, machines: Instances, tmp_path: Path
) -> None:
    document = json.dumps(Aws(Home.from_env({"LLMCLOUD_HOME": str(tmp_path)})).policy())
    Account().client_of("iam").put_user_policy(
        UserName=USER, PolicyName="all", PolicyDocument=document
    )
    remote.post("knobs", enforces_iam=True)
    at = landlord(machines)
    ready = at.await_ready(at.create(tenancy(tmp_path)))
    assert machines.is_reachable(ready)
    at.delete("box", at.places("box"))
    assert machines.look().instances == ()


class TestAConnection:
    """Which whoever has the printed policy may end if it is theirs."""

    @pytest.fixture
    def machine(self, remote: Remote, machines: Instances, tmp_path: Path) -> str:
        at = landlord(machines)
        return at.await_ready(at.create(tenancy(tmp_path))).id

    @pytest.fixture
    def clients(self, machine: str, remote: Remote, tmp_path: Path) -> list[Any]:
        """Return a user's and a role's, as single sign-on makes it: both have the policy."""
        document = json.dumps(Aws(Home.from_env({"LLMCLOUD_HOME": str(tmp_path)})).policy())
        iam, sts = Account().client_of("iam"), Account().client_of("sts")
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        role = iam.create_role(RoleName="Trainer", AssumeRolePolicyDocument=trust)["Role"]
        iam.put_role_policy(RoleName="Trainer", PolicyName="all", PolicyDocument=document)
        got = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="jane")["Credentials"]
        iam.put_user_policy(UserName=USER, PolicyName="all", PolicyDocument=document)
        remote.post("knobs", enforces_iam=True)
        of_role = boto3.Session(got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"])
        return [each.client("ssm", REGIONS[0]) for each in (boto3.Session(), of_role)]

    def test_is_ended_by_who_began_it(self, machine: str, clients: list[Any]) -> None:
        for client in clients:
            session = client.start_session(Target=machine)["SessionId"]
            assert client.terminate_session(SessionId=session)["SessionId"] == session

    def test_is_not_ended_by_anybody_else(self, machine: str, clients: list[Any]) -> None:
        for its, other in (clients, reversed(clients)):
            session = its.start_session(Target=machine)["SessionId"]
            with pytest.raises(ClientError, match="not authorized"):
                other.terminate_session(SessionId=session)

    def test_may_be_opened_as_the_plugin_does(self, tmp_path: Path) -> None:
        """By what the service calls a user's or a role's connection, in one way or the other."""
        document = Aws(Home.from_env({"LLMCLOUD_HOME": str(tmp_path)})).policy()
        other = {"aws:userid": ["AIDA2"], "aws:username": ["jim"]}
        for context, session in (
            ({"aws:userid": ["AROA1:jane"]}, "AROA1:jane-0123"),
            ({"aws:userid": ["AIDA1"], "aws:username": ["joe"]}, "joe-0123"),
        ):
            arn = f"arn:aws:ssm:us-east-1:123456789012:session/{session}"
            asked = Asked("ssmmessages:OpenDataChannel", arn, context)
            assert decide([document], asked) == "allowed"
            assert decide([document], replace(asked, context=other)) == "implicitDeny"


def test_a_machine_whose_agent_does_not_report_is_not_reached(
    remote: Remote, machines: Instances, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the error says when it will be."""
    plugin = tmp_path / sessions.PLUGIN
    plugin.write_text("#!/bin/sh\necho 1.2.707.0\n")
    plugin.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    at = landlord(machines)
    ready = at.await_ready(at.create(tenancy(tmp_path)))
    Account().client_of("iam").delete_role_policy(
        RoleName=names.of_instance("box"), PolicyName=instance_role.POLICY
    )
    assert machines.is_reachable(ready) is False
    with pytest.raises(Unavailable, match="does not reach box"):
        machines.connect(ready, "true")


def test_a_region_that_may_not_be_looked_at_hides_no_other(
    remote: Remote, machines: Instances, tmp_path: Path
) -> None:
    made = landlord(machines).create(tenancy(tmp_path))
    remote.post("faults", operation="DescribeInstances", code="UnauthorizedOperation", times=1)
    seen = machines.look()
    assert len(seen.failures) == 1
    assert isinstance(seen.failures[0], PermissionDenied)
    assert {each.id for each in seen.instances} <= {made.id}


def test_jobs_machines_are_listed_only_when_asked_for(
    remote: Remote,
    machines: Instances,
) -> None:
    ec2 = Account().client_of("ec2", REGIONS[0])
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    tags = [{"Key": "llmcloud:job", "Value": "a-222222"}, {"Key": "Name", "Value": "n"}]
    ec2.run_instances(
        ImageId=image,
        InstanceType="m7i.large",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    assert machines.look().instances == ()
    (found,) = machines.look(with_jobs=True).instances
    assert (found.job, found.name) == ("a-222222", "n")
    shown = CliRunner().invoke(app, ["instances", "list", "--all"])
    assert "a-222222" in shown.stdout


def test_nothing_is_spent_unasked(remote: Remote, machines: Instances) -> None:
    """Without a terminal and without --yes, the question is an error."""
    words = ["instances", "create", "box", "--type", "m7i.large", "--region", REGIONS[0]]
    done = CliRunner().invoke(app, words)
    assert "--yes" in getattr(done.exception, "fix", "")
    assert machines.look().instances == ()
    assert left(REGIONS[0]) == []
