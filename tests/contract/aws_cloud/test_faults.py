"""The rig fails as a test says, holds requests where it says, and remembers what was asked."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from tests.rig.aws.remote import Refused
from tests.rig.aws.said import refusal

if TYPE_CHECKING:
    from tests.contract.aws_cloud.conftest import ClientOf
    from tests.rig.aws.remote import Remote


class TestAFault:
    @pytest.mark.parametrize(
        ("service", "call", "code", "status"),
        [
            ("ec2", "describe_vpcs", "RequestLimitExceeded", 503),
            ("ec2", "describe_vpcs", "UnauthorizedOperation", 403),
            ("autoscaling", "describe_auto_scaling_groups", "Throttling", 400),
            ("sts", "get_caller_identity", "ExpiredToken", 403),
            ("ssm", "describe_parameters", "ThrottlingException", 400),
            ("s3", "list_buckets", "SlowDown", 503),
        ],
    )
    def test_is_an_error_in_the_words_of_the_service(
        self,
        client_of: ClientOf,
        remote: Remote,
        service: str,
        call: str,
        code: str,
        status: int,
    ) -> None:
        """It meets the first request only, unless more are wanted."""
        client = client_of(service)
        remote.post("faults", service=service, code=code, status=status)
        assert refusal(getattr(client, call)) == (code, status)
        getattr(client, call)()

    def test_can_meet_every_request_or_some(self, ec2: Any, remote: Remote) -> None:
        remote.post("faults", operation="DescribeVpcs", skip=1, times=2, code="InternalError")
        ec2.describe_vpcs()
        for _ in range(2):
            assert refusal(ec2.describe_vpcs)[0] == "InternalError"
        ec2.describe_vpcs()
        remote.post("faults", times=0, code="RequestLimitExceeded")
        for _ in range(3):
            assert refusal(ec2.describe_subnets)[0] == "RequestLimitExceeded"
        remote.delete("faults")
        ec2.describe_subnets()

    @pytest.mark.parametrize("after", [False, True])
    def test_can_be_a_reset_before_or_after_it_was_done(
        self, ec2: Any, remote: Remote, *, after: bool
    ) -> None:
        remote.post("faults", operation="CreateSecurityGroup", reset=True, after=after)
        with pytest.raises(ConnectionClosedError):
            ec2.create_security_group(GroupName="one", Description="one")
        names = {each["GroupName"] for each in ec2.describe_security_groups()["SecurityGroups"]}
        assert ("one" in names) is after

    def test_is_refused_when_it_is_not_understood(self, remote: Remote) -> None:
        with pytest.raises(Refused):
            remote.post("faults", colour="red")
        with pytest.raises(Refused):
            remote.post("knobs", colour="red")
        with pytest.raises(Refused):
            remote.get("colours")


class TestAHeldRequest:
    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("fate", ["go", "drop"])
    def test_waits_until_it_is_let_go_or_dropped(
        self, ec2: Any, remote: Remote, fate: str, *, after: bool
    ) -> None:
        """So a test can kill whoever asked, at each boundary."""
        remote.post("faults", number=2, hold=True, after=after)
        outcome: list[object] = []

        def ask() -> None:
            try:
                ec2.describe_vpcs()
                outcome.append(ec2.create_security_group(GroupName="g", Description="g"))
            except (ClientError, ConnectionClosedError) as error:
                outcome.append(error)

        asker = threading.Thread(target=ask)
        asker.start()
        held = remote.get("held", timeout_s=30)
        assert held == {"2": "held after" if after else "held before"}
        assert not outcome
        assert remote.post("held/2", fate=fate)
        asker.join(30)
        assert isinstance(outcome[0], ConnectionClosedError) is (fate == "drop")
        names = {each["GroupName"] for each in ec2.describe_security_groups()["SecurityGroups"]}
        assert ("g" in names) is (fate == "go" or after)


class TestTheJournal:
    def test_has_each_request_with_its_parameters(
        self, client_of: ClientOf, ec2: Any, remote: Remote
    ) -> None:
        ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])
        client_of("s3").list_buckets()
        first, second = remote.get("requests")
        assert first["number"] == 1
        assert (first["service"], first["operation"], first["region"]) == (
            "ec2",
            "DescribeVpcs",
            "us-east-1",
        )
        assert first["params"]["Filters"] == [{"Name": "is-default", "Values": ["true"]}]
        assert first["status"] == 200
        assert (second["service"], second["operation"]) == ("s3", "ListBuckets")
        assert remote.get("requests", since=1) == [second]
        assert remote.calls() == [("ec2", "DescribeVpcs"), ("s3", "ListBuckets")]


def test_latency_can_be_added_to_every_request(ec2: Any, remote: Remote) -> None:
    remote.post("knobs", latency_s=0.2)
    began = time.monotonic()
    ec2.describe_vpcs()
    assert time.monotonic() - began >= 0.2
