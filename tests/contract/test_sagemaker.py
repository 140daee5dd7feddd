"""Our SageMaker, as the real SDK sees it: what it refuses, and how its jobs live and end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.rig.aws import sagemaker_s3, schema
from tests.rig.aws.call import service_model
from tests.rig.aws.cloud import Cloud, Options
from tests.rig.aws.remote import Remote
from tests.rig.aws.sagemaker import SageMaker
from tests.rig.aws.sagemaker_containers import Bare
from tests.rig.aws.sagemaker_run import Means
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulators

GROUP = "/aws/sagemaker/TrainingJobs"
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.14-cpu-amzn2023-sagemaker"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


class Rig:
    """The service and clients of what it takes."""

    def __init__(self, url: str, service: SageMaker, s3: Any) -> None:
        self.service, self.s3, self._url = service, s3, url
        self.sagemaker, self.logs, self.iam = map(self.client, ("sagemaker", "logs", "iam"))
        self.bucket = f"training-{time.time_ns()}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.role = self.iam.create_role(
            RoleName="training", AssumeRolePolicyDocument=json.dumps(TRUST)
        )["Role"]["Arn"]

    def client(self, name: str) -> Any:
        own = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
        return boto3.client(
            name, region_name="us-east-1", endpoint_url=self._url, config=config, **own
        )

    def enforce(self) -> None:
        """Have policies hold from now on, also those of the job's role."""
        Remote(self._url).post("knobs", enforces_iam=True)

    def allow(self, *actions: str) -> None:
        """Let the job's role do this in the bucket, and nothing else."""
        bucket = f"arn:aws:s3:::{self.bucket}"
        allowed = {"Effect": "Allow", "Action": actions, "Resource": [bucket, f"{bucket}/*"]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self.iam.put_role_policy(RoleName="training", PolicyName="own", PolicyDocument=policy)

    def request(self, script: str = "true", **changes: Any) -> dict[str, Any]:
        made: dict[str, Any] = {
            "TrainingJobName": f"job-{time.time_ns()}",
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["sh", "-ec", script],
            },
            "RoleArn": self.role,
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.bucket}/output"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 30,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        }
        return {**made, **changes}

    def start(self, script: str = "true", **changes: Any) -> str:
        request = self.request(script, **changes)
        self.sagemaker.create_training_job(**request)
        return str(request["TrainingJobName"])

    def channel(self, name: str, uri: str, kind: str = "S3Prefix") -> dict[str, Any]:
        return {
            "ChannelName": name,
            "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri}},
        }

    def describe(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
        return found

    def until(self, name: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until a job is as it is to be, and return what is said of it."""
        eventually(lambda: done(self.describe(name)))
        return self.describe(name)

    def end(self, name: str) -> dict[str, Any]:
        return self.until(name, lambda job: "TrainingEndTime" in job)

    def printed(self, name: str, line: str) -> None:
        self.until(name, lambda _: line in self.lines(name))

    def lines(self, name: str) -> list[str]:
        try:
            found = self.logs.describe_log_streams(
                logGroupName=GROUP, logStreamNamePrefix=f"{name}/"
            )
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        return [
            event["message"]
            for stream in found["logStreams"]
            for event in self.logs.get_log_events(
                logGroupName=GROUP, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]


@pytest.fixture
def rig(emulators: Emulators, tmp_path: Path) -> Iterator[Rig]:
    s3_url = emulators.get("ministack").url
    s3 = sagemaker_s3.client(s3_url)
    service = SageMaker(Means(s3, tmp_path, Bare(), grace_s=0.5))
    with Cloud(Options(s3_url=s3_url, services=[service.service])) as cloud:
        yield Rig(f"http://127.0.0.1:{cloud.port}", service, s3)
        service.stop_all()
        assert not cloud.world.problems


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_a_job_runs_its_command_and_its_lines_are_in_cloudwatch(rig: Rig) -> None:
    name = rig.start("echo one; echo two >&2", Environment={"COLOUR": "blue"})
    ended = rig.end(name)
    assert ended["TrainingJobStatus"] == ended["SecondaryStatus"] == "Completed"
    passed = [each["Status"] for each in ended["SecondaryStatusTransitions"]]
    assert passed == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert rig.lines(name) == ["one", "two"]


def test_a_request_that_the_model_does_not_allow_is_refused(rig: Rig) -> None:
    """Botocore checks neither patterns nor enums nor the lengths' upper bounds."""
    group = {"InstanceType": "ml.h100.huge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    for wrong in (
        {"TrainingJobName": "under_score"},
        {"TrainingJobName": "x" * 64},
        {"ResourceConfig": group},
        {"RoleArn": "arn:aws:iam::1:role/x"},
        {"HyperParameters": {f"h{n}": "1" for n in range(101)}},
        {"HyperParameters": {"h": "1" * 2501}},
        {"Environment": {"1X": "y"}},
        {"Tags": [{"Key": "k"}]},
        {"EnableManagedSpotTraining": "yes"},
    ):
        with pytest.raises(ClientError) as error:
            rig.start(**wrong)
        assert code(error) == "ValidationException", wrong


def test_a_member_that_the_model_does_not_have_is_refused() -> None:
    """The SDK can't send one; who writes requests by hand can."""
    shape = service_model("sagemaker").operation_model("StopTrainingJob").input_shape
    assert schema.problems(shape, {"TrainingJobName": "a"}) == []
    assert schema.problems(shape, {"TrainingJobName": "a", "Force": True}) == ["'Force' is unknown"]


def test_a_request_that_breaks_a_rule_between_fields_is_refused(rig: Rig) -> None:
    plain = {"InstanceType": "ml.m5.large", "InstanceCount": 1}
    channel = rig.channel("data", "s3://nowhere-at-all/x/")
    for wrong in (
        {"RoleArn": rig.role + "-other"},
        {"ResourceConfig": plain},
        {"ResourceConfig": {"VolumeSizeInGB": 1}},
        {"EnableManagedSpotTraining": True},
        {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}},
        {
            "EnableManagedSpotTraining": True,
            "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59},
        },
        {"StoppingCondition": {"MaxRuntimeInSeconds": 29 * 24 * 3600}},
        {"AlgorithmSpecification": {"TrainingInputMode": "File"}},
        {"AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": "pytorch"}},
        {"InputDataConfig": [channel]},
    ):
        with pytest.raises(ClientError) as error:
            rig.start(**wrong)
        assert code(error) == "ValidationException", wrong


def test_a_role_that_sagemaker_may_not_assume_is_refused(rig: Rig) -> None:
    other = {
        **TRUST,
        "Statement": [{**TRUST["Statement"][0], "Principal": {"Service": "ec2.amazonaws.com"}}],
    }
    role = rig.iam.create_role(RoleName="ec2", AssumeRolePolicyDocument=json.dumps(other))
    with pytest.raises(ClientError) as error:
        rig.start(RoleArn=role["Role"]["Arn"])
    assert code(error) == "ValidationException"


def test_a_channel_is_listed_read_and_what_is_made_is_written_with_the_jobs_role(rig: Rig) -> None:
    """What a role lacks for the first is told at once, for the others when it is their turn."""
    rig.s3.put_object(Bucket=rig.bucket, Key="set/one.txt", Body=b"1")
    rig.enforce()
    changes = {"InputDataConfig": [rig.channel("all", f"s3://{rig.bucket}/set")]}
    with pytest.raises(ClientError) as error:
        rig.start(**changes)
    assert "No S3 objects found under S3 URL" in str(error.value)
    assert code(error) == "ValidationException"
    script = "cat /opt/ml/input/data/all/one.txt; echo made > /opt/ml/model/it"

    rig.allow("s3:ListBucket")
    reason = rig.end(rig.start(script, **changes))["FailureReason"]
    assert reason.startswith(f"ClientError: HeadObject s3://{rig.bucket}/set/one.txt (AccessDenied")
    rig.allow("s3:ListBucket", "s3:GetObject")
    reason = rig.end(rig.start(script, **changes))["FailureReason"]
    assert reason.startswith(f"ClientError: PutObject s3://{rig.bucket}/output/job-")
    rig.allow("s3:ListBucket", "s3:GetObject", "s3:PutObject")
    assert rig.end(rig.start(script, **changes))["TrainingJobStatus"] == "Completed"


def test_a_name_is_used_once(rig: Rig) -> None:
    name = rig.start()
    with pytest.raises(rig.sagemaker.exceptions.ResourceInUse):
        rig.start(TrainingJobName=name)
    assert rig.end(name)["TrainingJobStatus"] == "Completed"


def test_a_job_that_nobody_made_is_not_there(rig: Rig) -> None:
    for ask in (rig.sagemaker.describe_training_job, rig.sagemaker.stop_training_job):
        with pytest.raises(ClientError) as error:
            ask(TrainingJobName="nobody")
        assert code(error) == "ValidationException"


def test_a_quota_refuses_and_a_lack_of_capacity_fails(rig: Rig) -> None:
    rig.service.controls.limits["ml.m5.large"] = 0
    with pytest.raises(rig.sagemaker.exceptions.ResourceLimitExceeded):
        rig.start()
    rig.service.controls.limits.clear()
    rig.service.controls.no_capacity.add("ml.m5.large")
    ended = rig.end(rig.start())
    assert ended["TrainingJobStatus"] == "Failed"
    assert ended["FailureReason"].startswith("CapacityError: ")


def test_what_a_container_wrote_down_is_why_its_job_failed(rig: Rig) -> None:
    plain = rig.end(rig.start("exit 3"))
    assert (plain["TrainingJobStatus"], plain["FailureReason"]) == (
        "Failed",
        "AlgorithmError: , exit code: 3",
    )
    told = rig.end(rig.start("printf 'no such column' > /opt/ml/output/failure; exit 1"))
    assert told["FailureReason"] == "AlgorithmError: no such column, exit code: 1"


def test_a_job_that_is_stopped_has_its_grace_and_then_none(rig: Rig) -> None:
    polite = rig.start("trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    deaf = rig.start("trap '' TERM; echo up; while :; do sleep 0.05; done")
    for name in (polite, deaf):
        rig.printed(name, "up")
        rig.sagemaker.stop_training_job(TrainingJobName=name)
        assert rig.end(name)["SecondaryStatus"] == "Stopped"
        with pytest.raises(ClientError) as error:
            rig.sagemaker.stop_training_job(TrainingJobName=name)
        assert code(error) == "ValidationException"
    assert rig.lines(polite) == ["up", "saved"]


def test_a_job_that_runs_for_too_long_is_stopped(rig: Rig) -> None:
    ended = rig.end(rig.start("sleep 60", StoppingCondition={"MaxRuntimeInSeconds": 1}))
    assert (ended["TrainingJobStatus"], ended["SecondaryStatus"]) == (
        "Stopped",
        "MaxRuntimeExceeded",
    )


def test_interruptions_count_for_how_long_a_spot_job_waits_but_not_for_how_long_it_runs(
    rig: Rig,
) -> None:
    name = rig.start(
        "echo up; sleep 60",
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1},
    )
    rig.printed(name, "up")
    rig.service.interrupt(name)
    ended = rig.end(name)
    assert ended["TrainingJobStatus"] == "Stopped"
    assert ended["SecondaryStatus"] == "MaxWaitTimeExceeded"


def test_an_interrupted_spot_job_goes_on_from_its_checkpoints(rig: Rig) -> None:
    rig.s3.put_object(Bucket=rig.bucket, Key="ckpt/old", Body=b"1")
    script = (
        "cd /opt/ml/checkpoints; ls; [ -e new ] && exit 0; "
        "trap 'echo 2 > new; exit 143' TERM; echo up; while :; do sleep 0.05; done"
    )
    name = rig.start(
        script,
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
        CheckpointConfig={"S3Uri": f"s3://{rig.bucket}/ckpt"},
    )
    rig.printed(name, "up")
    rig.service.interrupt(name)
    ended = rig.end(name)
    passed = [each["Status"] for each in ended["SecondaryStatusTransitions"]]
    assert passed == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert sorted(rig.lines(name)) == ["new", "old", "old", "up"]


def test_a_job_whose_machines_fail_is_tried_as_often_as_it_may_be(rig: Rig) -> None:
    name = rig.start("echo up; sleep 60", RetryStrategy={"MaximumRetryAttempts": 1})
    for count in (1, 2):
        rig.until(name, lambda _, count=count: rig.lines(name).count("up") == count)
        rig.service.crash(name)
    ended = rig.end(name)
    assert ended["FailureReason"].startswith("InternalServerError: ")
    passed = [each["Status"] for each in ended["SecondaryStatusTransitions"]]
    assert passed.count("Restarting") == 1


def test_a_container_finds_its_data_and_its_place_below_opt_ml(rig: Rig) -> None:
    rig.s3.put_object(Bucket=rig.bucket, Key="set/a/one.txt", Body=b"1")
    rig.s3.put_object(Bucket=rig.bucket, Key="set/two.txt", Body=b"2")
    manifest = [{"prefix": f"s3://{rig.bucket}/set/"}, "a/one.txt"]
    rig.s3.put_object(Bucket=rig.bucket, Key="list", Body=json.dumps(manifest).encode())
    listed = rig.channel("listed", f"s3://{rig.bucket}/list", kind="ManifestFile")
    groups = [
        {"InstanceGroupName": "chief", "InstanceType": "ml.m5.large", "InstanceCount": 1},
        {"InstanceGroupName": "worker", "InstanceType": "ml.c5.xlarge", "InstanceCount": 2},
    ]
    name = rig.start(
        "cd /opt/ml/input; for f in resourceconfig hyperparameters; do cat config/$f.json; echo; "
        "done; cd data; find . -type f",
        HyperParameters={"a": "1"},
        InputDataConfig=[rig.channel("all", f"s3://{rig.bucket}/set"), listed],
        ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 30},
    )
    assert rig.end(name)["TrainingJobStatus"] == "Completed"
    lines = rig.lines(name)
    told = [json.loads(line) for line in lines if line.startswith("{")]
    places = [each for each in told if "hosts" in each]
    assert {"a": "1"} in told
    assert {each["current_host"]: each["current_group_name"] for each in places} == {
        "algo-1": "chief",
        "algo-2": "worker",
        "algo-3": "worker",
    }
    assert places[0]["hosts"] == ["algo-1", "algo-2", "algo-3"]
    assert {line for line in lines if line.startswith("./")} == {
        "./all/a/one.txt",
        "./all/two.txt",
        "./listed/a/one.txt",
    }


def test_tags_are_kept_and_jobs_are_listed_page_by_page(rig: Rig) -> None:
    names = [rig.start(Tags=[{"Key": "llmcloud:job", "Value": "x"}]) for _ in range(3)]
    arn = rig.describe(names[0])["TrainingJobArn"]
    rig.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    rig.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["llmcloud:job"])
    assert rig.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    for name in names:
        rig.end(name)
    pages = rig.sagemaker.get_paginator("list_training_jobs")
    asked = {"NameContains": "job-", "StatusEquals": "Completed", "MaxResults": 2}
    found = [
        each["TrainingJobName"]
        for page in pages.paginate(**asked)
        for each in page["TrainingJobSummaries"]
    ]
    assert sorted(found) == sorted(names)
    created = rig.describe(names[1])["CreationTime"]
    for bound, count in (("CreationTimeAfter", 2), ("CreationTimeBefore", 2)):
        found = rig.sagemaker.list_training_jobs(NameContains="job-", **{bound: created})
        assert len(found["TrainingJobSummaries"]) == count, bound
    rig.sagemaker.delete_training_job(TrainingJobName=names[0])
    with pytest.raises(ClientError):
        rig.describe(names[0])
