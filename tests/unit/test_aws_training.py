"""What a job file becomes as a SageMaker training job, checked against the vendor's own model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import botocore.session
import pytest
from tests.rig.aws import sagemaker_rules, schema

from llmcloud.core.home import Home
from llmcloud.core.provider import MachineState, Offer
from llmcloud.core.spec.models import JobSpec
from llmcloud.providers.aws import training, training_images, training_request
from llmcloud.providers.aws.compute import Aws
from llmcloud.runtime.errors import InvalidRequest, NoCapacity

JOB = "gpt-abcdef"
MODEL = schema.service("sagemaker")
CREATE = MODEL.operation_model("CreateTrainingJob").input_shape


def spec_of(**fields: Any) -> JobSpec:
    made = {"name": "gpt", "run": "python train.py", "service": "managed", "provider": ["aws"]}
    return JobSpec.model_validate({**made, **fields})


def offer_of(instance_type: str = "m5.large", **fields: Any) -> Offer:
    made = {"provider": "aws", "service": "managed", "region": "us-east-1", "vcpus": 2}
    made |= {"memory_bytes": 8 << 30, "price_usd_per_hour": 0.1, "architecture": "x86_64"}
    return Offer(instance_type=instance_type, **{**made, **fields})


def planned(spec: JobSpec, offer: Offer | None = None) -> dict[str, Any]:
    """Return the request as `plan` prints it, once the vendor's model and rules allow it."""
    (request,) = Aws(Home(Path("/nowhere"), Path("/nowhere"))).requests(
        JOB, spec, offer or offer_of()
    )
    assert (request.api, request.operation) == ("sagemaker", "CreateTrainingJob")
    assert schema.problems(CREATE, request.body) == []
    trust = {
        "Statement": {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    }
    sagemaker_rules.check(request.body, lambda _: trust)
    return request.body


def test_a_plan_is_what_the_service_accepts() -> None:
    made = planned(spec_of(hyperparameters={"lr": 3e-4, "fp16": True}, env={"A": "b"}))
    assert made["TrainingJobName"] == f"llmcloud-{JOB}-1"
    assert made["HyperParameters"] == {"lr": "0.0003", "fp16": "true"}
    assert made["Environment"] == {"A": "b", "AWS_REGION": "us-east-1"}
    assert made["ResourceConfig"] == {
        "InstanceType": "ml.m5.large",
        "InstanceCount": 1,
        "VolumeSizeInGB": 30,
    }
    assert made["StoppingCondition"] == {"MaxRuntimeInSeconds": 5 * 24 * 3600}
    assert made["EnableManagedSpotTraining"] is False
    checkpoints = made["CheckpointConfig"]
    assert checkpoints["LocalPath"] == "/opt/ml/checkpoints"
    assert checkpoints["S3Uri"].endswith(f"/jobs/{JOB}/sagemaker/checkpoints")


def test_spot_waits_no_longer_than_the_job_may_run() -> None:
    made = planned(spec_of(limits={"max_duration": "1h"}), offer_of(spot=True))
    limit = 3600 + 900
    assert made["StoppingCondition"] == {
        "MaxRuntimeInSeconds": limit,
        "MaxWaitTimeInSeconds": limit,
    }
    assert made["EnableManagedSpotTraining"] is True


@pytest.mark.parametrize(("asked", "longest_s"), [("120h", 432_000), ("121h", 436_500)])
def test_what_accounts_may_run_by_default_is_not_exceeded_by_our_margin(
    asked: str, longest_s: int
) -> None:
    made = planned(spec_of(limits={"max_duration": asked}))
    assert made["StoppingCondition"]["MaxRuntimeInSeconds"] == longest_s


def test_roles_are_groups_of_hosts() -> None:
    roles = {"chief": {"cpus": "2+"}, "worker": {"count": 3, "cpus": "2+"}}
    made = planned(spec_of(roles=roles, launcher="tensorflow"))
    assert made["ResourceConfig"]["InstanceGroups"] == [
        {"InstanceGroupName": "chief", "InstanceType": "ml.m5.large", "InstanceCount": 1},
        {"InstanceGroupName": "worker", "InstanceType": "ml.m5.large", "InstanceCount": 3},
    ]


def test_data_comes_through_channels() -> None:
    data = [
        {"source": "s3://corpus/tokens/", "target": "tokens", "mode": "mount"},
        {"source": "./here", "target": "here"},
    ]
    own, *channels = planned(spec_of(data=data))["InputDataConfig"]
    assert own["ChannelName"] == "llmcloud"
    assert [(each["ChannelName"], each["InputMode"]) for each in channels] == [
        ("data-0", "FastFile"),
        ("data-1", "File"),
    ]
    assert channels[0]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://corpus/tokens/"


def test_the_container_is_awss_own_or_the_users() -> None:
    gpu = offer_of("g5.xlarge", accelerator="A10G", accelerators=1, region="eu-south-1")
    image = planned(spec_of(), gpu)["AlgorithmSpecification"]["TrainingImage"]
    assert image.startswith("692866216735.dkr.ecr.eu-south-1.amazonaws.com/pytorch:")
    assert "-cu" in image
    own = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1"
    made = planned(spec_of(resources={"image": own}))
    assert made["AlgorithmSpecification"]["TrainingImage"] == own


def test_each_argument_of_the_container_fits() -> None:
    """The model says 256 characters, of a name as long as one may be."""
    made = planned(spec_of(name="n" * 40, limits={"max_duration": "1h"}))
    start = made["AlgorithmSpecification"]["ContainerEntrypoint"]
    assert start[:2] == ["/bin/sh", "-ec"]
    assert max(map(len, start)) <= 256


def test_an_accounts_network_and_key_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCLOUD_AWS_SUBNETS", "subnet-1,subnet-2")
    monkeypatch.setenv("LLMCLOUD_AWS_SECURITY_GROUPS", "sg-1")
    monkeypatch.setenv("LLMCLOUD_AWS_KMS_KEY", "1234-ab")
    made = planned(spec_of())
    assert made["VpcConfig"] == {
        "Subnets": ["subnet-1", "subnet-2"],
        "SecurityGroupIds": ["sg-1"],
    }
    assert made["OutputDataConfig"]["KmsKeyId"] == "1234-ab"
    assert made["ResourceConfig"]["VolumeKmsKeyId"] == "1234-ab"


@pytest.mark.parametrize(
    ("name", "value"),
    [("LLMCLOUD_AWS_SUBNETS", "subnet-1"), ("LLMCLOUD_AWS_KMS_KEY", "alias/mine")],
)
def test_half_a_network_and_an_alias_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidRequest):
        planned(spec_of())


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"resources": {"image": "ami-0123456789abcdef0"}}, "resources.image"),
        ({"resources": {"image": "jax"}}, "resources.image"),
        ({"resources": {"image": "../../x"}}, "resources.image"),
        ({"resources": {"image": "docker.io/me/x:1"}}, "resources.image"),
        ({"limits": {"max_duration": "700h"}}, "limits.max_duration"),
        ({"hyperparameters": {f"h{n}": n for n in range(101)}}, "hyperparameters"),
        ({"hyperparameters": {"prompt": "x" * 2501}}, "hyperparameters.prompt"),
        ({"env": {f"V{n}": "" for n in range(100)}}, "env"),
        ({"env": {"LONG": "x" * 513}}, "env.LONG"),
        ({"labels": {f"l{n}": "" for n in range(43)}}, "labels"),
        ({"data": [{"source": "s3://bucket/x", "target": f"t{n}"} for n in range(20)]}, "data"),
    ],
)
def test_what_a_training_job_cant_have_is_refused_by_name(fields: dict[str, Any], key: str) -> None:
    assert [each.key for each in training_request.refusals(spec_of(**fields))] == [key]


def test_what_fits_just_so_is_not_refused() -> None:
    fields: dict[str, Any] = {
        "limits": {"max_duration": "672h"},
        "hyperparameters": {f"h{n}": "x" * 2500 for n in range(100)},
        "env": {f"V{n}": "x" * 512 for n in range(99)},
        "labels": {f"l{n}": "x" for n in range(42)},
        "data": [{"source": "s3://bucket/x", "target": f"t{n}"} for n in range(19)],
    }
    assert training_request.refusals(spec_of(**fields)) == []
    planned(spec_of(**fields))


def test_the_types_are_those_of_the_vendors_model() -> None:
    """Botocore is what moves; then the list is to be made anew."""
    newest = botocore.session.Session().get_service_model("sagemaker")
    known = newest.shape_for("TrainingInstanceType").enum
    assert {f"ml.{each}" for each in training_images.types()} <= set(known)


def test_an_offer_that_sagemaker_does_not_train_on_is_passed_over() -> None:
    service = Aws(Home(Path("/nowhere"), Path("/nowhere")))._training
    both = [offer_of("m5.large"), offer_of("m4.10xlargest")]
    assert service.offers(both) == both[:1]
    with pytest.raises(NoCapacity):
        service.offers(both[1:])


@pytest.mark.parametrize(
    ("status", "secondary", "state"),
    [
        ("InProgress", "Starting", MachineState.STARTING),
        ("InProgress", "Pending", MachineState.STARTING),
        ("InProgress", "Downloading", MachineState.STARTING),
        ("InProgress", "Training", MachineState.RUNNING),
        ("InProgress", "Interrupted", MachineState.STARTING),
        ("InProgress", "Uploading", MachineState.RUNNING),
        ("InProgress", "Meditating", MachineState.UNKNOWN),
        ("Stopping", "Stopping", MachineState.RUNNING),
        ("Completed", "Completed", MachineState.GONE),
        ("Failed", "Failed", MachineState.GONE),
        ("Stopped", "MaxRuntimeExceeded", MachineState.GONE),
        ("Deleting", "Stopped", MachineState.GONE),
        ("Elsewhere", "Elsewhere", MachineState.UNKNOWN),
    ],
)
def test_each_status_has_its_meaning(status: str, secondary: str, state: MachineState) -> None:
    found = {"TrainingJobStatus": status, "SecondaryStatus": secondary}
    assert training._state(found) is state


def test_every_status_of_the_vendors_model_has_a_meaning() -> None:
    found = MODEL.operation_model("DescribeTrainingJob").output_shape.members
    assert set(found["TrainingJobStatus"].enum) == {*training.STATES, training.IN_PROGRESS}
    final = {"Completed", "Failed", "Stopped", "MaxRuntimeExceeded", "MaxWaitTimeExceeded"}
    assert set(found["SecondaryStatus"].enum) == {*training.SECONDARY_STATES, *final}
