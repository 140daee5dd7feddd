"""What `plan` says of a job on AWS: the very requests, with neither account nor network."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from tests.rig.aws import schema
from typer.testing import CliRunner

from llmcloud.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

SPOT = "resources: {spot: true}\nlimits: {max_duration: 1h}\n"
OF_SPOT = ["CreateLaunchTemplate", "CreateAutoScalingGroup", "PutScheduledUpdateGroupAction"]


@pytest.mark.parametrize(
    ("more", "operations"),
    [
        ("", ["RunInstances"]),
        ("resources: {nodes: 2, instance_type: p4d.24xlarge}\n", ["RunInstances"]),
        (SPOT, OF_SPOT),
        (f"service: managed\n{SPOT}", ["CreateTrainingJob"]),
    ],
)
def test_a_plan_holds_what_aws_will_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, operations: list[str]
) -> None:
    """In the words of its own model; whoever was asked for it meanwhile would not be reached."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("LLMCLOUD_HOME", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    path = tmp_path / "job.yaml"
    path.write_text(f"name: gpt\nprovider: aws\nregion: us-east-1\nrun: 'true'\n{more}")
    done = CliRunner().invoke(app, ["plan", str(path), "--requests", "--json"])
    assert done.exit_code == 0, done.output
    asked = json.loads(done.stdout)["requests"]
    assert [each["operation"] for each in asked] == operations
    for each in asked:
        if when := each["body"].get("StartTime"):  # JSON has no times
            each["body"]["StartTime"] = datetime.fromisoformat(when)
        shape = schema.service(each["api"]).operation_model(each["operation"]).input_shape
        assert schema.problems(shape, each["body"]) == []
        assert each["params"] == {"region": "us-east-1"}


def test_a_plan_says_which_subnets_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCLOUD_HOME", str(tmp_path))
    path = tmp_path / "job.yaml"
    path.write_text("name: gpt\nprovider: aws\nregion: us-east-1\nrun: 'true'\n")

    def subnet() -> str:
        done = CliRunner().invoke(app, ["plan", str(path), "--requests", "--json"])
        (asked,) = json.loads(done.stdout)["requests"]
        return str(asked["body"]["NetworkInterfaces"][0]["SubnetId"])

    assert subnet() == "(a default subnet of us-east-1)"
    monkeypatch.setenv("LLMCLOUD_AWS_SUBNETS", "subnet-1,subnet-2")
    assert subnet() == "(a subnet of LLMCLOUD_AWS_SUBNETS in us-east-1)"
