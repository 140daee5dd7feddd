"""`llmcloud doctor aws`, against the miniature AWS: each thing that can be wrong, and its fix."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from tests.rig.computes import COMPUTES
from tests.rig.waits import eventually
from typer.testing import CliRunner

from llmcloud.cli.app import app
from llmcloud.core.home import Home
from llmcloud.core.spec.models import JobSpec
from llmcloud.core.stores import open_store
from llmcloud.providers.aws import compute, permissions, quotas
from llmcloud.providers.aws.identity import Caller
from llmcloud.providers.aws.simulation import Principal
from llmcloud.runtime.errors import QuotaExceeded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rig.aws.remote import Remote

    from llmcloud.core.provider import Finding
    from llmcloud.providers.aws.credentials import Account

ACCOUNT = "123456789012"
P_QUOTA, P5_SPOT_QUOTA, G_QUOTA = "L-417A185B", "L-C4BD4855", "L-DB2E81BA"


@dataclass
class Doctor:
    """An account of a user who may do everything, and what can be changed of it."""

    remote: Remote
    aws: compute.Aws

    @property
    def account(self) -> Account:
        return self.aws._account

    def allow(self, **statement: object) -> None:
        """Let the user do this and nothing else."""
        self.put_policy(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Resource": "*", **statement}],
            }
        )

    def put_policy(self, policy: dict[str, Any]) -> None:
        """Attach a policy to the user, instead of the one that allows everything."""
        self.account.client_of("iam").put_user_policy(
            UserName="submitter", PolicyName="all", PolicyDocument=json.dumps(policy)
        )

    def check(self, *, mend: bool = False, **asked: Any) -> list[Finding]:
        """Return what is found, of any job or of one that asks for this."""
        return self.aws.check(spec(**asked) if asked else None, mend=mend)

    def find(self, subject: str, *, mend: bool = False, **asked: Any) -> list[Finding]:
        """Return what is found of a subject."""
        return [each for each in self.check(mend=mend, **asked) if each.subject == subject]


def spec(**asked: Any) -> JobSpec:
    """Return a job; what it asks for of machines, and the rest."""
    outside = {name: asked.pop(name) for name in ("region", "service", "store") if name in asked}
    document = {"name": "a", "provider": "aws", "run": "true", **outside, "resources": asked}
    return JobSpec.model_validate(document)


@pytest.fixture
def doctor(remote: Remote, tmp_path: Path) -> Doctor:
    return Doctor(remote, compute.Aws(Home(tmp_path, tmp_path / "config.yaml")))


def test_all_is_well_in_a_usual_account(doctor: Doctor) -> None:
    found = doctor.check()
    assert [each for each in found if not each.ok] == []
    assert {each.subject for each in found} == {
        *("identity", "region", "permits", "network", "images", "store", "quota")
    }
    assert found[0].detail == f"arn:aws:iam::{ACCOUNT}:user/submitter"


def test_without_credentials_nothing_else_is_looked_at(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    (found,) = doctor.check()
    assert (found.subject, found.ok, found.exit_code) == ("identity", False, 4)
    assert "aws configure" in found.fix


@pytest.mark.parametrize("service", ["vm", "managed"])
def test_the_policy_that_is_printed_is_all_that_is_needed(doctor: Doctor, service: str) -> None:
    """And each of its actions is missed, were it not in it."""
    whole = doctor.aws.policy()
    doctor.put_policy(whole)
    (found,) = doctor.find("permits", accelerator="A100:8", service=service)
    assert found.detail == "IAM would allow submitter all that jobs do"
    assert found.ok
    needed = [each for each in permissions.granted(service) if each.is_needed]
    kept = [each for each in whole["Statement"] if each["Sid"] == "LookAhead"]
    doctor.put_policy({**whole, "Statement": kept})
    (found,) = doctor.find("permits", accelerator="A100:8", service=service)
    assert not found.ok
    for grant in needed:
        assert f"{', '.join(grant.actions)} ({grant.why})" in found.detail


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("aws", ""),
        ("aws", "resources: {nodes: 2, instance_type: p4d.24xlarge}\n"),
        ("aws", "resources: {spot: true}\n"),
        ("aws-managed", ""),
    ],
)
def test_a_job_asks_for_nothing_that_the_printed_policy_lacks(
    doctor: Doctor, tmp_path: Path, kind: str, more: str
) -> None:
    """From its bucket to its end, and what `gc` looks at, with every policy enforced."""
    (tmp_path / "code").mkdir()
    rig = COMPUTES[kind].make(tmp_path)
    doctor.put_policy(doctor.aws.policy())
    doctor.remote.post("knobs", enforces_iam=True)
    rig.store = open_store(f"s3://llmcloud-{ACCOUNT}-us-east-1")
    rig.store.create()
    job = rig.staged(f"run: sleep 1000\n{more}")
    launch = replace(rig._launch(job), secrets={"TOKEN": "of-the-test"})
    rig.compute.launch(launch)
    eventually(lambda: rig.compute.describe(launch.place), "there are machines")
    assert rig.compute.leftovers(frozenset(), frozenset({rig.store.url}))
    rig.delete(job)
    assert rig.compute.leftovers(frozenset(), frozenset({rig.store.url})) == []


def test_a_launch_beyond_the_quota_names_what_to_raise(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    rig = COMPUTES["aws"].make(tmp_path)
    doctor.remote.post("quotas", region="us-east-1", code=P_QUOTA, value=96)
    job = rig.staged("run: sleep 1000\nresources: {nodes: 2, instance_type: p4d.24xlarge}\n")
    with pytest.raises(QuotaExceeded) as refused:
        rig.launch(job)
    assert "Raise Running On-Demand P instances: aws service-quotas" in refused.value.fix
    assert "--quota-code L-417A185B --desired-value 192" in refused.value.fix
    rig.delete(job)


def test_what_is_denied_is_named_with_what_it_is_for(doctor: Doctor) -> None:
    whole = doctor.aws.policy()
    deny = {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "*"}
    doctor.put_policy({**whole, "Statement": [*whole["Statement"], deny]})
    (found,) = doctor.find("permits")
    assert (found.ok, found.exit_code) == (False, 4)
    assert found.detail == (
        "IAM would deny ec2:RunInstances (to make machines, and the group in which they talk to "
        "one another)"
    )
    assert "llmcloud doctor aws --policy" in found.fix


def test_where_simulating_is_not_permitted_it_is_told(doctor: Doctor) -> None:
    doctor.allow(Action=["ec2:*", "s3:*", "ssm:*", "servicequotas:*"])
    doctor.remote.post("knobs", enforces_iam=True)
    (found,) = doctor.find("permits")
    assert found.detail == "not looked at: iam:SimulatePrincipalPolicy is not permitted"
    assert found.ok is None


@pytest.fixture
def signed_on(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Be a role with the printed policy, as single sign-on makes it.

    It has a path, which the ARN of who assumed it has not.
    """
    iam, sts = doctor.account.client_of("iam"), doctor.account.client_of("sts")
    trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
    arn = iam.create_role(
        RoleName="Trainer",
        Path="/aws-reserved/sso.amazonaws.com/",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    iam.put_role_policy(
        RoleName="Trainer", PolicyName="all", PolicyDocument=json.dumps(doctor.aws.policy())
    )
    got = sts.assume_role(RoleArn=arn, RoleSessionName="someone")["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", got["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", got["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", got["SessionToken"])
    doctor.aws = compute.Aws(doctor.aws._home)
    return doctor


def test_a_role_that_was_assumed_is_asked_about_with_its_path(signed_on: Doctor) -> None:
    (found,) = signed_on.find("permits")
    assert found.detail == "IAM would allow Trainer all that jobs do"


def test_a_role_whose_path_may_not_be_looked_up_is_not_asked_about(signed_on: Doctor) -> None:
    """The printed policy allows that of our own roles only."""
    signed_on.remote.post("knobs", enforces_iam=True)
    (found,) = signed_on.find("permits")
    assert found.ok is None
    assert found.detail.startswith("not looked at: iam:GetRole")


def test_who_comes_with_a_token_in_a_file_needs_no_key(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As CI does, by web identity; what moves files gets the session as well."""
    document = {"Version": "2012-10-17", "Statement": []}
    arn = doctor.account.client_of("iam").create_role(
        RoleName="ci", AssumeRolePolicyDocument=json.dumps(document)
    )["Role"]["Arn"]
    (tmp_path / "token").write_text("of.the.runner")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", arn)
    monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "run-7")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    doctor.aws = compute.Aws(doctor.aws._home)
    (found,) = doctor.find("identity")
    assert found.detail == f"arn:aws:sts::{ACCOUNT}:assumed-role/ci/run-7"
    assert doctor.account.provider()()["token"]


def test_the_root_user_cannot_be_simulated(doctor: Doctor) -> None:
    for arn in (f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:sts::{ACCOUNT}:federated-user/a"):
        assert Principal.of(Caller(ACCOUNT, arn), doctor.account) is None


def test_the_quota_of_the_wanted_type_is_enough_or_told_how_to_raise(doctor: Doctor) -> None:
    doctor.remote.post("quotas", region="us-west-2", code=P_QUOTA, value=96)
    (enough,) = [
        each
        for each in doctor.find("quota", accelerator="A100:8", region=["us-west-2"])
        if "us-west-2" in each.detail
    ]
    assert enough.ok
    assert enough.detail == (
        "Running On-Demand P instances (L-417A185B) in us-west-2: 96 vCPUs, 0 in use, 96 wanted"
    )
    (less,) = doctor.find("quota", accelerator="A100:8", region=["us-west-2"], nodes=2)
    assert (less.ok, less.exit_code) == (False, 5)
    assert (
        "aws service-quotas request-service-quota-increase --region us-west-2 --service-code ec2 "
        "--quota-code L-417A185B --desired-value 192"
    ) in less.fix


def test_without_a_type_the_quotas_of_gpus_are_told(doctor: Doctor) -> None:
    for code, value in ((P_QUOTA, 96), ("L-7212CCBC", 8), (P5_SPOT_QUOTA, 192)):
        doctor.remote.post("quotas", region="us-east-1", code=code, value=value)
    _, found = (each.detail for each in doctor.find("quota"))
    assert found == (
        f"us-east-1: 96 vCPUs of Running On-Demand P instances ({P_QUOTA}), "
        "8 vCPUs of All P4, P3 and P2 Spot Instance Requests (L-7212CCBC), "
        f"192 vCPUs of All P5 Spot Instance Requests ({P5_SPOT_QUOTA})"
    )


def test_spot_has_a_quota_of_its_own(doctor: Doctor) -> None:
    doctor.remote.post("quotas", region="us-east-1", code=P5_SPOT_QUOTA, value=0)
    asked = {"accelerator": "H100:8", "region": ["us-east-1"], "spot": "fallback"}
    spot, on_demand = doctor.find("quota", **asked)
    assert not spot.ok
    assert "All P5 Spot Instance Requests (L-C4BD4855)" in spot.detail
    assert on_demand.ok


def test_what_runs_counts_against_the_quota(doctor: Doctor) -> None:
    doctor.remote.post("quotas", region="us-east-1", code=G_QUOTA, value=8)
    ec2 = doctor.account.client_of("ec2", "us-east-1")
    image = ec2.describe_images(Owners=["099720109477"])["Images"][0]["ImageId"]
    asked = {"ImageId": image, "MinCount": 1, "MaxCount": 1}
    ec2.run_instances(InstanceType="g5.xlarge", **asked)
    ec2.run_instances(InstanceType="m5.large", **asked)
    (found,) = doctor.find("quota", instance_type="g4dn.2xlarge", region=["us-east-1"])
    assert "8 vCPUs, 4 in use, 8 wanted" in found.detail
    assert not found.ok
    assert "--desired-value 12" in found.fix


def test_training_jobs_have_a_quota_a_type_in_instances(doctor: Doctor) -> None:
    """Which are found by their names: Service Quotas lists some thousands of them."""
    asked = {"accelerator": "A100:8", "region": ["us-east-1"], "service": "managed"}
    (found,) = doctor.find("quota", **asked)
    assert found.ok
    assert found.detail.startswith("ml.p4d.24xlarge for training job usage (L-")
    assert found.detail.endswith("in us-east-1: 4 instances, 1 wanted")
    name = "ml.p4d.24xlarge for spot training job usage"
    doctor.remote.post("quotas", region="us-east-1", code=name, value=0)
    (found,) = doctor.find("quota", spot=True, **asked)
    assert not found.ok
    assert found.fix.startswith(f"Raise {name}: aws service-quotas request-service-quota-increase")
    assert "--service-code sagemaker --quota-code L-" in found.fix


@pytest.mark.parametrize(
    ("instance_type", "on_demand", "spot"),
    [
        ("m7i.large", "L-1216C47A", "L-34B43A08"),
        ("g6e.xlarge", G_QUOTA, "L-3819A6DF"),
        ("gr6.4xlarge", G_QUOTA, "L-3819A6DF"),
        ("p3dn.24xlarge", P_QUOTA, "L-7212CCBC"),
        ("p4de.24xlarge", P_QUOTA, "L-7212CCBC"),
        ("p5en.48xlarge", P_QUOTA, P5_SPOT_QUOTA),
        ("trn1.32xlarge", "L-2C3B7624", "L-6B0D517C"),
        ("inf2.xlarge", "L-1945791B", "L-B5D1601B"),
    ],
)
def test_a_type_counts_to_the_quota_of_its_family(
    instance_type: str, on_demand: str, spot: str
) -> None:
    assert quotas.quota_of(instance_type, spot=False).code == on_demand
    assert quotas.quota_of(instance_type, spot=True).code == spot


def test_a_region_that_is_not_enabled_is_told_with_how_to_enable_it(doctor: Doctor) -> None:
    (found,) = doctor.find("region", accelerator="A100-80GB:8", region=["il-central-1"])
    assert not found.ok
    assert found.fix == "aws account enable-region --region-name il-central-1"


def test_a_region_without_a_default_network_is_told_with_how_to_make_it(doctor: Doctor) -> None:
    ec2 = doctor.account.client_of("ec2", "us-east-1")
    for each in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=each["SubnetId"])
    (found,) = doctor.find("network")
    assert not found.ok
    assert found.fix.startswith("aws ec2 create-default-vpc --region us-east-1, or ")


def test_the_zones_that_have_the_type_are_named(doctor: Doctor) -> None:
    (found,) = doctor.find("network", accelerator="H100:8", region=["us-east-1"])
    assert found.ok
    assert re.fullmatch(r"p5.48xlarge in us-east-1\w(, us-east-1\w)*", found.detail)


@pytest.mark.parametrize(
    ("accelerator", "few"), [("H100:8", "1 of its 32"), ("B300:8", "0 of its 16")]
)
def test_what_a_public_subnet_costs_several_nodes_is_told(
    doctor: Doctor, accelerator: str, few: str
) -> None:
    (found,) = doctor.find("network", accelerator=accelerator, nodes=2)
    assert found.ok
    told = f", with {few} EFA interfaces: private subnets in LLMCLOUD_AWS_SUBNETS give all"
    assert found.detail.endswith(told)


def test_a_private_subnet_costs_several_nodes_nothing(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ec2 = doctor.account.client_of("ec2", "us-east-1")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    place = {"CidrBlock": "10.9.0.0/24", "AvailabilityZone": "us-east-1a"}
    subnet = ec2.create_subnet(VpcId=vpc, **place)["Subnet"]["SubnetId"]
    monkeypatch.setenv("LLMCLOUD_AWS_SUBNETS", subnet)
    (found,) = doctor.find("network", accelerator="A100:8", nodes=2, region=["us-east-1"])
    assert found.detail == "p4d.24xlarge in us-east-1a"


class TestTheKeyOfDisks:
    """Auto Scaling brings spot machines, and may not use a key that the account made itself."""

    SPOT: ClassVar = {"accelerator": "L4:1", "region": ["us-east-1"], "spot": True}

    @pytest.fixture
    def key(self, doctor: Doctor) -> str:
        """Return a key of the account's own, which is the default one."""
        made = doctor.account.client_of("kms", "us-east-1").create_key()["KeyMetadata"]["Arn"]
        ec2 = doctor.account.client_of("ec2", "us-east-1")
        return str(ec2.modify_ebs_default_kms_key_id(KmsKeyId=made)["KmsKeyId"])

    def test_is_told_with_what_its_policy_needs(self, doctor: Doctor, key: str) -> None:
        (found,) = doctor.find("disks", **self.SPOT)
        assert found.ok is None  # it may be there
        assert key in found.detail
        assert "key-policy-requirements-EBS-encryption" in found.fix

    def test_is_well_where_it_is_of_aws(self, doctor: Doctor) -> None:
        """Which it is called by its alias at first, and has an ARN once a disk is encrypted."""
        (found,) = doctor.find("disks", **self.SPOT)
        assert found.ok
        ec2 = doctor.account.client_of("ec2", "us-east-1")
        ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, Encrypted=True)
        assert ec2.get_ebs_default_kms_key_id()["KmsKeyId"].startswith("arn:")
        (found,) = doctor.find("disks", **self.SPOT)
        assert found.ok

    @pytest.mark.parametrize("denied", ["ec2:GetEbsDefaultKmsKeyId", "kms:DescribeKey"])
    def test_may_be_kept_from_us(self, doctor: Doctor, key: str, denied: str) -> None:
        whole = doctor.aws.policy()
        deny = {"Effect": "Deny", "Action": denied, "Resource": "*"}
        doctor.put_policy({**whole, "Statement": [*whole["Statement"], deny]})
        doctor.remote.post("knobs", enforces_iam=True)
        (found,) = doctor.find("disks", **self.SPOT)
        assert found.ok is None
        assert denied in found.detail
        assert key not in found.detail

    def test_is_looked_at_with_the_printed_policy(self, doctor: Doctor, key: str) -> None:
        doctor.put_policy(doctor.aws.policy())
        doctor.remote.post("knobs", enforces_iam=True)
        (found,) = doctor.find("disks", **self.SPOT)
        assert key in found.detail

    @pytest.mark.parametrize("other", [{"spot": False}, {"service": "managed"}])
    def test_is_of_no_matter_to_others(
        self, doctor: Doctor, key: str, other: dict[str, object]
    ) -> None:
        assert doctor.find("disks", **{**self.SPOT, **other}) == []


def test_an_image_that_is_not_there_is_told(doctor: Doctor) -> None:
    (found,) = doctor.find("images", accelerator="L4:1", image="ami-0123456789abcdef0")
    assert not found.ok
    assert "ami-0123456789abcdef0" in found.detail


def test_the_store_is_made_only_when_asked_to_mend(doctor: Doctor) -> None:
    region = "eu-central-1"
    s3 = doctor.account.client(region)
    name = f"llmcloud-{ACCOUNT}-{region}"
    asked = {"accelerator": "T4:1", "region": [region]}
    for key in s3.list_objects_v2(Bucket=name).get("Contents", []) if _has(s3, name) else []:
        s3.delete_object(Bucket=name, Key=key["Key"])
    if _has(s3, name):
        s3.delete_bucket(Bucket=name)
    (found,) = doctor.find("store", **asked)
    assert (found.ok, found.detail) == (True, f"s3://{name}, which the first job makes")
    assert not _has(s3, name)
    (found,) = doctor.find("store", mend=True, **asked)
    assert found.ok
    assert _has(s3, name)
    (found,) = doctor.find("store", **asked)
    assert found.detail == f"s3://{name} in {region}"


def _has(s3: Any, name: str) -> bool:
    return name in {each["Name"] for each in s3.list_buckets()["Buckets"]}


def test_a_store_that_is_named_is_the_one_looked_at(doctor: Doctor) -> None:
    (found,) = doctor.find("store", accelerator="T4:1", store="s3://no-such-bucket-anywhere")
    assert not found.ok
    assert "s3://no-such-bucket-anywhere" in found.detail


def test_a_job_that_nothing_suits_is_told_as_such(doctor: Doctor) -> None:
    found = doctor.check(accelerator="A100:3")
    assert [each.subject for each in found] == ["identity", "offers"]
    assert "Did you mean A100:8" in found[1].fix


def test_training_jobs_have_neither_network_nor_images(doctor: Doctor) -> None:
    found = {each.subject for each in doctor.check(accelerator="A100:8", service="managed")}
    assert found == {"identity", "region", "permits", "store", "quota"}


def test_the_command_takes_a_job_file_or_an_accelerator(doctor: Doctor, tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("name: a\nprovider: local\nrun: 'true'\nresources: {accelerator: L4:1}\n")
    for arguments in ([str(job)], ["--accelerator", "L4:1"]):
        done = CliRunner().invoke(app, ["doctor", "aws", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        found = {each["subject"]: each["detail"] for each in json.loads(done.stdout)}
        assert "g6.xlarge" in found["network"]
        assert "Running On-Demand G and VT instances" in found["quota"]


def test_the_policy_fits_what_iam_takes(doctor: Doctor) -> None:
    """A managed policy has at most 6,144 characters, white space not counted."""
    done = CliRunner().invoke(app, ["doctor", "aws", "--policy"])
    assert done.exit_code == 0
    assert len("".join(done.stdout.split())) <= 6144
    assert f"llmcloud-{ACCOUNT}-*" in done.stdout
