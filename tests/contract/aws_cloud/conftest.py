"""The miniature AWS as a new account, with boto3's clients, which try nothing twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tests.rig.aws.account import SUBMITTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.aws.remote import Remote
    from tests.rig.emulators.catalog import Emulator, Emulators

REGION = "us-east-1"
GPU_IMAGE = (
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
)


class ClientOf(Protocol):
    """Returns a client; `key` is what signs its requests, the submitter's unless said."""

    def __call__(
        self, service: str, region: str = REGION, key: tuple[str, ...] = SUBMITTER
    ) -> Any: ...


@pytest.fixture
def cloud(emulators: Emulators) -> Emulator:
    return emulators.get("aws")


@pytest.fixture(scope="session")
def session() -> Any:
    """Give one session, which reads the services' models once."""
    import boto3

    return boto3.session.Session()


@pytest.fixture
def client_of(cloud: Emulator, remote: Remote, session: Any) -> Iterator[ClientOf]:
    from botocore.config import Config

    made: list[Any] = []

    def client_of(service: str, region: str = REGION, key: tuple[str, ...] = SUBMITTER) -> Any:
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        client = session.client(
            service,
            region_name=region,
            endpoint_url=cloud.url,
            config=Config(retries={"total_max_attempts": 1}),
            **dict(zip(names, key, strict=False)),
        )
        made.append(client)
        return client

    yield client_of
    for each in made:
        each.close()


@pytest.fixture
def ec2(client_of: ClientOf) -> Any:
    return client_of("ec2")


@pytest.fixture
def launch(client_of: ClientOf, ec2: Any) -> dict[str, Any]:
    """Give the parameters of a launch that succeeds: one machine with a GPU, in one subnet."""
    found = client_of("ssm").get_parameter(Name=GPU_IMAGE)
    zones = [{"Name": "availability-zone", "Values": [f"{REGION}a"]}]
    (subnet,) = ec2.describe_subnets(Filters=zones)["Subnets"]
    return {
        "ImageId": found["Parameter"]["Value"],
        "InstanceType": "g5.xlarge",
        "SubnetId": subnet["SubnetId"],
        "MinCount": 1,
        "MaxCount": 1,
    }


@pytest.fixture
def profile(client_of: ClientOf) -> str:
    """Give the name of an instance profile, and of its role."""
    iam = client_of("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}}
    document = {"Version": "2012-10-17", "Statement": [{**trust, "Action": "sts:AssumeRole"}]}
    iam.create_role(RoleName="node", AssumeRolePolicyDocument=json.dumps(document))
    iam.create_instance_profile(InstanceProfileName="node")
    iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
    return "node"
