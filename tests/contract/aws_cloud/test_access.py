"""IAM in the rig is enforced for every service, with the conditions of the policies."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from obstore.store import S3Store
from tests.rig.aws.account import ROOT, SUBMITTER
from tests.rig.aws.said import refusal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.aws_cloud.conftest import ClientOf
    from tests.rig.aws.remote import Remote
    from tests.rig.emulators.catalog import Emulator

PREFIX = "jobs/a-job/"
OF_A_LAUNCH = ("image", "volume", "network-interface", "subnet", "security-group")


def _policy(*statements: dict[str, Any]) -> str:
    allowed = [{"Effect": "Allow", "Resource": "*", **each} for each in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": allowed})


@pytest.fixture
def bucket(client_of: ClientOf) -> str:
    client = client_of("s3")
    name = f"access-{uuid.uuid4()}"  # a reset leaves S3 as it is
    client.create_bucket(Bucket=name)
    for key in (f"{PREFIX}a", "jobs/another/a"):
        client.put_object(Bucket=name, Key=key, Body=b"text")
    return name


@pytest.fixture
def node(client_of: ClientOf, profile: str, bucket: str) -> tuple[str, ...]:
    """Give the credentials of a node's role, which may use its job's prefix."""
    objects = {
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": f"arn:aws:s3:::{bucket}/{PREFIX}*",
    }
    listing = {
        "Action": "s3:ListBucket",
        "Resource": f"arn:aws:s3:::{bucket}",
        "Condition": {"StringLike": {"s3:prefix": [f"{PREFIX}*"]}},
    }
    client_of("iam").put_role_policy(
        RoleName=profile, PolicyName="store", PolicyDocument=_policy(objects, listing)
    )
    arn = f"arn:aws:iam::123456789012:role/{profile}"
    said = client_of("sts").assume_role(RoleArn=arn, RoleSessionName="node")["Credentials"]
    return said["AccessKeyId"], said["SecretAccessKey"], said["SessionToken"]


class TestANode:
    def test_reads_and_writes_its_prefix_and_nothing_else(
        self, client_of: ClientOf, remote: Remote, node: tuple[str, ...], bucket: str
    ) -> None:
        """It does not even hear that something outside is not there."""
        remote.post("knobs", enforces_iam=True)
        client = client_of("s3", key=node)
        client.put_object(Bucket=bucket, Key=f"{PREFIX}b c", Body=b"text")
        assert client.get_object(Bucket=bucket, Key=f"{PREFIX}a")["Body"].read() == b"text"
        listed = client.list_objects_v2(Bucket=bucket, Prefix=PREFIX)
        assert listed["KeyCount"] == 2
        denied = ("AccessDenied", 403)
        other = {"Bucket": bucket, "Key": "jobs/another/a"}
        assert refusal(client.get_object, **other) == denied
        assert refusal(client.put_object, **other, Body=b"") == denied
        assert refusal(client.head_object, **other)[1] == 403
        assert refusal(client.delete_object, **other) == denied
        assert refusal(client.list_objects_v2, Bucket=bucket) == denied
        assert refusal(client.list_objects_v2, Bucket=bucket, Prefix="jobs/") == denied
        assert refusal(client.list_buckets) == denied
        missing = {"Bucket": bucket, "Key": f"{PREFIX}missing"}
        assert refusal(client.get_object, **missing) == denied

    def test_may_bring_its_signature_by_other_clients(
        self,
        cloud: Emulator,
        remote: Remote,
        node: tuple[str, ...],
        bucket: str,
        tmp_path: Path,
    ) -> None:
        """By obstore, and by curl as a machine that boots has it; a wrong secret is seen."""
        remote.post("knobs", enforces_iam=True)
        store = S3Store(
            bucket,
            endpoint=cloud.url,
            region="us-east-1",
            access_key_id=node[0],
            secret_access_key=node[1],
            session_token=node[2],
            client_options={"allow_http": True},
        )
        store.put(f"{PREFIX}of obstore", b"text")
        assert [each["path"] for each in store.list(PREFIX).collect()] == [
            f"{PREFIX}a",
            f"{PREFIX}of obstore",
        ]
        for secret, status in ((node[1], "200"), ("guessed", "403")):
            argv = ["curl", "-sS", "--aws-sigv4", "aws:amz:us-east-1:s3", "-o", tmp_path / "got"]
            argv += ["-u", f"{node[0]}:{secret}", "-H", f"x-amz-security-token: {node[2]}"]
            argv += ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-w", "%{http_code}"]
            argv += ["--connect-to", f"::{cloud.url.removeprefix('http://')}"]
            url = f"http://{bucket}.s3.us-east-1.amazonaws.com/{PREFIX}of%20obstore"
            done = subprocess.run([*argv, url], capture_output=True, text=True, check=False)
            assert done.stdout == status, done.stderr
            assert ((tmp_path / "got").read_bytes() == b"text") is (status == "200")

    def test_may_not_ask_ec2_anything(
        self, client_of: ClientOf, remote: Remote, node: tuple[str, ...]
    ) -> None:
        remote.post("knobs", enforces_iam=True)
        ec2 = client_of("ec2", key=node)
        assert refusal(ec2.describe_vpcs) == ("UnauthorizedOperation", 403)
        assert client_of("sts", key=node).get_caller_identity()["Arn"].endswith("/node/node")

    def test_of_a_session_that_is_over_is_told_so(
        self, client_of: ClientOf, remote: Remote, node: tuple[str, ...], bucket: str
    ) -> None:
        remote.post("knobs", enforces_iam=True)
        remote.post("expire", key_id=node[0])
        client = client_of("s3", key=node)
        asked = {"Bucket": bucket, "Key": f"{PREFIX}a"}
        assert refusal(client.get_object, **asked) == ("ExpiredToken", 400)
        assert refusal(client_of("ec2", key=node).describe_vpcs)[0] == "RequestExpired"

    def test_ends_only_instances_of_its_own_job(
        self,
        client_of: ClientOf,
        ec2: Any,
        remote: Remote,
        launch: dict[str, Any],
        node: tuple[str, ...],
    ) -> None:
        """By a condition on the resource's tag."""
        condition = {"StringEquals": {"aws:ResourceTag/llmcloud:job": "a-job"}}
        document = _policy({"Action": "ec2:TerminateInstances", "Condition": condition})
        client_of("iam").put_role_policy(RoleName="node", PolicyName="end", PolicyDocument=document)
        ids = []
        for job in ("a-job", "another"):
            tags = [{"Key": "llmcloud:job", "Value": job}]
            tagged = [{"ResourceType": "instance", "Tags": tags}]
            made = ec2.run_instances(**launch, TagSpecifications=tagged)
            ids.append(made["Instances"][0]["InstanceId"])
        remote.post("knobs", enforces_iam=True)
        own = client_of("ec2", key=node)
        own.terminate_instances(InstanceIds=ids[:1])
        denied = ("UnauthorizedOperation", 403)
        assert refusal(own.terminate_instances, InstanceIds=ids[1:]) == denied


class TestAUser:
    def test_may_do_what_all_policies_allow_and_none_denies(
        self, client_of: ClientOf, remote: Remote, launch: dict[str, Any], profile: str
    ) -> None:
        """A launch needs each resource that it makes, and the role that it passes."""
        iam = client_of("iam", key=ROOT)
        iam.delete_user_policy(UserName="submitter", PolicyName="all")
        remote.post("knobs", enforces_iam=True)
        ec2 = client_of("ec2")
        asked = {**launch, "IamInstanceProfile": {"Name": profile}}
        denied = ("UnauthorizedOperation", 403)
        assert refusal(ec2.run_instances, **asked) == denied
        put = iam.put_user_policy
        put(UserName="submitter", PolicyName="run", PolicyDocument=_policy({"Action": "ec2:Run*"}))
        assert refusal(ec2.run_instances, **asked) == denied
        passing = {
            "Action": "iam:PassRole",
            "Resource": "arn:aws:iam::*:role/node",
            "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        }
        put(UserName="submitter", PolicyName="pass", PolicyDocument=_policy(passing))
        ec2.run_instances(**asked)
        deny = {
            "Effect": "Deny",
            "Action": "ec2:RunInstances",
            "Condition": {"StringEquals": {"ec2:InstanceType": "g5.xlarge"}},
        }
        put(UserName="submitter", PolicyName="no", PolicyDocument=_policy(deny))
        assert refusal(ec2.run_instances, **asked) == denied

    def test_must_tag_what_it_makes_where_the_policy_says_so(
        self, client_of: ClientOf, remote: Remote, launch: dict[str, Any]
    ) -> None:
        iam = client_of("iam", key=ROOT)
        tagged = {"Null": {"aws:RequestTag/llmcloud:job": "false"}}
        instance = "arn:aws:ec2:*:*:instance/*"
        run = {"Action": "ec2:RunInstances"}
        others = [f"arn:aws:ec2:*:*:{each}/*" for each in OF_A_LAUNCH]
        document = _policy(
            {**run, "Resource": instance, "Condition": tagged},
            {**run, "Resource": others},
            {"Action": "ec2:CreateTags"},
        )
        iam.put_user_policy(UserName="submitter", PolicyName="all", PolicyDocument=document)
        remote.post("knobs", enforces_iam=True)
        ec2 = client_of("ec2")
        assert refusal(ec2.run_instances, **launch) == ("UnauthorizedOperation", 403)
        tags = [{"Key": "llmcloud:job", "Value": "a-job"}]
        ec2.run_instances(**launch, TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])

    def test_is_told_beforehand_by_the_same_evaluation(
        self, client_of: ClientOf, remote: Remote
    ) -> None:
        iam = client_of("iam", key=ROOT)
        document = _policy({"Action": ["ec2:RunInstances", "s3:*"]})
        iam.put_user_policy(UserName="submitter", PolicyName="all", PolicyDocument=document)
        said = iam.simulate_principal_policy(
            PolicySourceArn="arn:aws:iam::123456789012:user/submitter",
            ActionNames=["ec2:RunInstances", "iam:CreateRole"],
        )
        decided = {e["EvalActionName"]: e["EvalDecision"] for e in said["EvaluationResults"]}
        assert decided == {"ec2:RunInstances": "allowed", "iam:CreateRole": "implicitDeny"}
        asked = {"PolicySourceArn": "arn:aws:iam::123456789012:user/no", "ActionNames": ["a:b"]}
        assert refusal(iam.simulate_principal_policy, **asked) == ("NoSuchEntity", 404)


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("ec2", "describe_vpcs", "AuthFailure"),
        ("autoscaling", "describe_auto_scaling_groups", "InvalidClientTokenId"),
        ("ssm", "describe_parameters", "UnrecognizedClientException"),
    ],
)
@pytest.mark.parametrize("region", ["eu-south-2", "us-east-9"])
def test_a_region_must_be_one_and_enabled(
    client_of: ClientOf, remote: Remote, service: str, call: str, code: str, region: str
) -> None:
    remote.post("disabled-regions", ["eu-south-2"])
    assert refusal(getattr(client_of(service, region), call))[0] == code


class TestAKey:
    @pytest.mark.parametrize(
        ("service", "call", "unknown", "wrong"),
        [
            ("ec2", "describe_vpcs", ("AuthFailure", 401), ("AuthFailure", 401)),
            (
                "sts",
                "get_caller_identity",
                ("InvalidClientTokenId", 403),
                ("SignatureDoesNotMatch", 403),
            ),
            (
                "ssm",
                "describe_parameters",
                ("UnrecognizedClientException", 400),
                ("InvalidSignatureException", 400),
            ),
            ("s3", "list_buckets", ("InvalidAccessKeyId", 403), ("SignatureDoesNotMatch", 403)),
        ],
    )
    def test_must_be_known_and_sign_rightly(
        self,
        client_of: ClientOf,
        remote: Remote,
        service: str,
        call: str,
        unknown: tuple[str, int],
        wrong: tuple[str, int],
    ) -> None:
        remote.post("knobs", enforces_iam=True)
        getattr(client_of(service), call)()
        stranger = client_of(service, key=("AKIANOBODYKNOWSTHIS0", "secret"))
        assert refusal(getattr(stranger, call)) == unknown
        forger = client_of(service, key=(SUBMITTER[0], "guessed"))
        assert refusal(getattr(forger, call)) == wrong
