"""SageMaker jobs of ours, asked for and ended through the real SDK at our fake."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.aws import sagemaker_rules, sagemaker_s3
from tests.rig.aws.cloud import Cloud, Options
from tests.rig.aws.sagemaker import SageMaker
from tests.rig.aws.sagemaker_containers import Bare
from tests.rig.aws.sagemaker_run import Means
from tests.rig.waits import eventually

from llmcloud.core.job import Job
from llmcloud.core.provider import Launch, MachineState, Offer
from llmcloud.core.spec.models import JobSpec
from llmcloud.core.spec.task import task_of
from llmcloud.providers.aws import leftovers, roles, training_request
from llmcloud.providers.aws.credentials import Account
from llmcloud.providers.aws.identity import Identity
from llmcloud.providers.aws.training import Training
from llmcloud.runtime.errors import InvalidRequest, NoCapacity, QuotaExceeded, Unavailable
from llmcloud.runtime.task import DataSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulators

REGION = "us-east-1"
RUNTIME = "0" * 64


class Rig:
    """The adapter, the fake behind it, and a bucket that holds what a submit would stage."""

    def __init__(self, service: SageMaker, s3: Any) -> None:
        self.service, self.s3 = service, s3
        self.bucket = f"jobs-{time.time_ns()}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.s3.put_object(Bucket=self.bucket, Key=f"code/{RUNTIME}.pyz", Body=b"zip")
        self.account = Account()
        self.identity = Identity(self.account)
        self.training = Training(self.account, self.identity, leave_s=0)

    def launch(self, *data: DataSource, number: int = 1, **fields: Any) -> tuple[Launch, JobSpec]:
        made = {"name": "gpt", "run": "train", "service": "managed", "provider": ["aws"]}
        made["data"] = [{"source": each.source, "target": each.target} for each in data]
        spec = JobSpec.model_validate({**made, **fields})
        job = Job(
            id="gpt-abcdef",
            name="gpt",
            provider="aws",
            service="managed",
            region=REGION,
            store=f"s3://{self.bucket}",
            created_at="2026-11-22T10:00:00Z",
            spec=spec.model_dump(mode="json"),
            spec_digest="f" * 64,
            plan={},
            task=task_of(spec, job="gpt-abcdef", code=None, data=data),
            runtime=RUNTIME,
        )
        offer = Offer("aws", "managed", REGION, "m5.large", 2, 8 << 30, 0.1, architecture="x86_64")
        return Launch(job, offer, number, at=job.created_at), spec

    def started(self, number: int = 1) -> Launch:
        launch, spec = self.launch(number=number)
        self.training.launch(launch, spec, REGION)
        return launch

    def until(self, launch: Launch, state: MachineState) -> str:
        """Wait for a state of the first machine, and return its detail."""
        first = lambda: self.training.describe(launch.place)[0]  # noqa: E731
        eventually(lambda: first().state is state, f"the first machine is {state}")
        return first().detail


@pytest.fixture
def rig(emulators: Emulators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    emulator = emulators.get("ministack")
    s3 = sagemaker_s3.client(emulator.url)
    service = SageMaker(Means(s3, tmp_path, Bare(), grace_s=0.5))
    with Cloud(Options(s3_url=emulator.url, services=[service.service])) as cloud:
        for name, value in emulator.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{cloud.port}")
        yield Rig(service, s3)
        service.stop_all()
        assert not cloud.world.problems


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give what puts another script in place of our bootstrap."""

    def put(script: str) -> None:
        monkeypatch.setattr(training_request, "_start", lambda: script)

    put("while :; do sleep 0.05; done")
    return put


def test_a_launch_makes_a_job_once(rig: Rig, container: Callable[[str], None]) -> None:
    launch, spec = rig.launch()
    first = rig.training.launch(launch, spec, REGION)
    assert rig.training.launch(launch, spec, REGION)[0].id == first[0].id
    rig.until(launch, MachineState.RUNNING)
    job = rig.service.job("llmcloud-gpt-abcdef-1")
    assert job.tags["llmcloud:job"] == "gpt-abcdef"
    assert job.tags["llmcloud:store"] == launch.job.store
    assert job.tags["llmcloud:expires"] == "never"


def test_what_is_not_there_has_no_machines_and_is_deleted(rig: Rig) -> None:
    launch, _ = rig.launch()
    assert rig.training.describe(launch.place) == []
    assert rig.training.delete(launch.place) is True


def test_deleting_stops_a_job_and_is_done_when_it_has_ended(
    rig: Rig, container: Callable[[str], None]
) -> None:
    launch = rig.started()
    rig.until(launch, MachineState.RUNNING)
    assert rig.training.delete(launch.place) is False
    rig.until(launch, MachineState.GONE)
    assert rig.training.delete(launch.place) is True
    assert rig.service.job("llmcloud-gpt-abcdef-1").status == "Stopped"


def test_why_a_job_failed_is_told(rig: Rig, container: Callable[[str], None]) -> None:
    container("printf 'no such column' >/opt/ml/output/failure; exit 1")
    detail = rig.until(rig.started(), MachineState.GONE)
    assert detail == "AlgorithmError: no such column, exit code: 1"


def test_all_nodes_are_described(rig: Rig, container: Callable[[str], None]) -> None:
    launch, spec = rig.launch(resources={"nodes": 3})
    rig.training.launch(launch, spec, REGION)
    assert [each.rank for each in rig.training.describe(launch.place)] == [0, 1, 2]


def test_no_quota_and_no_capacity_lead_to_the_next_offer(
    rig: Rig, container: Callable[[str], None]
) -> None:
    rig.service.controls.limits["ml.m5.large"] = 0
    with pytest.raises(QuotaExceeded) as refusal:
        rig.started()
    assert "ml.m5.large for training job usage to 1" in refusal.value.fix
    rig.service.controls.limits.clear()
    rig.service.controls.no_capacity.add("ml.m5.large")
    with pytest.raises(NoCapacity):
        rig.started()


def test_a_quota_that_is_not_of_machines_is_named(rig: Rig) -> None:
    rig.service.controls.limits[sagemaker_rules.DISK] = 10
    with pytest.raises(QuotaExceeded) as refusal:
        rig.started()
    assert refusal.value.fix.startswith("Raise Size of EBS volume for a training job at https://")


def test_a_store_in_another_region_is_no_place_to_train_from(rig: Rig) -> None:
    launch, spec = rig.launch()
    with pytest.raises(NoCapacity) as failure:
        rig.training.launch(launch, spec, "eu-west-1")
    assert "eu-west-1" in failure.value.fix


def test_data_of_a_folder_ends_in_a_slash_and_of_an_object_in_its_name(
    rig: Rig, container: Callable[[str], None]
) -> None:
    """A prefix without a slash would bring `tokens-old` with `tokens`."""
    for key in ("tokens/a", "tokens-old/b", "one.bin"):
        rig.s3.put_object(Bucket=rig.bucket, Key=key, Body=b"x")
    url = f"s3://{rig.bucket}"
    launch, spec = rig.launch(
        DataSource(f"{url}/tokens", "tokens"),
        DataSource(f"{url}/one.bin", "one.bin"),
        DataSource(url, "all"),
    )
    rig.training.launch(launch, spec, REGION)
    channels = rig.service.job("llmcloud-gpt-abcdef-1").request["InputDataConfig"]
    found = [each["DataSource"]["S3DataSource"]["S3Uri"] for each in channels]
    assert found[1:] == [f"{url}/tokens/", f"{url}/one.bin", f"{url}/"]


def test_what_the_service_refuses_is_told_and_goes_nowhere_else(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the role, which may not be known to it yet, can't be the reason."""
    rig.s3.delete_object(Bucket=rig.bucket, Key=f"code/{RUNTIME}.pyz")
    launch, spec = rig.launch()
    for new_s, kind in ((roles.NEW_S, Unavailable), (0.0, InvalidRequest)):
        monkeypatch.setattr(roles, "NEW_S", new_s)
        with pytest.raises(kind, match="No S3 objects found"):
            rig.training.launch(launch, spec, REGION)


def test_what_still_runs_is_found_by_its_tags(rig: Rig, container: Callable[[str], None]) -> None:
    first, second = rig.started(1), rig.started(2)
    found = list(rig.training.left(REGION))
    names = {f"{REGION}/llmcloud-gpt-abcdef-{number}" for number in (1, 2)}
    assert {leftover.id for leftover, _ in found} == names
    assert {tags["llmcloud:store"] for _, tags in found} == {first.job.store}
    seen = leftovers.look(rig.account, rig.identity)
    old = seen.of(frozenset({first.job.store}), live=frozenset())
    assert names <= {each.id for each in old}
    assert [rig.training.end(leftover) for leftover, _ in found] == [False, False]
    for launch in (first, second):
        rig.until(launch, MachineState.GONE)
    assert [rig.training.end(leftover) for leftover, _ in found] == [True, True]
    assert list(rig.training.left(REGION)) == []


def test_the_role_is_one_that_the_service_may_take(
    rig: Rig, container: Callable[[str], None]
) -> None:
    launch = rig.started()
    arn = rig.service.job("llmcloud-gpt-abcdef-1").request["RoleArn"]
    assert arn.endswith(f"role/llmcloud-{launch.job.id}")
