"""A SageMaker of ours: training jobs that really run, each request and answer as the model says."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from moto.backends import get_backend
from tests.rig.aws import sagemaker_rules as rules
from tests.rig.aws import sagemaker_s3, schema
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import Refusal, Service, service_model
from tests.rig.aws.sagemaker_job import TrainingJob
from tests.rig.aws.sagemaker_run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.rig.aws.call import Call
    from tests.rig.aws.sagemaker_run import Means
    from tests.rig.aws.world import World

PAGE = 10
NOT_FOUND = Refusal("ValidationException", "Requested resource not found.")


@dataclass
class Controls:
    """What a test can have the service lack: quota (by instance type) and capacity (of types)."""

    limits: dict[str, int] = field(default_factory=dict)
    no_capacity: set[str] = field(default_factory=set)


class SageMaker:
    """The training jobs of an account in all regions."""

    def __init__(self, means: Means) -> None:
        self.controls = Controls()
        self._means = means
        self._jobs: dict[tuple[str, str], TrainingJob] = {}
        self._runs: dict[str, Run] = {}

    def service(self, world: World) -> Service:
        """Return the service of a new world, in which nobody has trained yet."""
        self.stop_all()
        self.controls, self._world = Controls(), world
        if self._means.executor:
            self._means.executor.lock = world.lock
        self._jobs, self._runs = {}, {}
        operations = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": self._describe,
            "StopTrainingJob": self._stop,
            "DeleteTrainingJob": self._delete,
            "ListTrainingJobs": self._list,
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
            "DeleteTags": self._delete_tags,
        }
        return Service(
            "sagemaker",
            "api.sagemaker",
            {name: self._checked(name, run) for name, run in operations.items()},
        )

    def interrupt(self, name: str) -> None:
        """Take a job's spot instances away: it goes on later, from its checkpoints."""
        self._runs[name].ask("interrupt")

    def crash(self, name: str) -> None:
        """Have the machines of a job fail: it is tried again as its RetryStrategy says."""
        self._runs[name].ask("crash")

    def job(self, name: str, region: str = "us-east-1") -> TrainingJob:
        """Return a job to look at, or to wait for."""
        return self._jobs[region, name]

    def stop_all(self) -> None:
        """End what still runs; each container has had its time."""
        for run in self._runs.values():
            run.ask("stop")
        for run in self._runs.values():
            run.join()

    def _checked(
        self, name: str, run: Callable[[Call, dict[str, Any]], Mapping[str, Any]]
    ) -> Callable[[Call], Mapping[str, Any]]:
        """Return an operation that takes and gives nothing but what the model has."""
        model = service_model("sagemaker").operation_model(name)

        def operation(call: Call) -> Mapping[str, Any]:
            request = json.loads(call.body or b"{}")
            if found := schema.problems(model.input_shape, request):
                raise Refusal("ValidationException", schema.failed(found))
            answer = run(call, request)
            if model.output_shape:
                found = schema.problems(model.output_shape, answer)
                assert not found, f"{name} would answer: {found}"
            return answer

        return operation

    def _create(self, call: Call, request: dict[str, Any]) -> Mapping[str, Any]:
        rules.check(request, _trust)
        key = (call.region, request["TrainingJobName"])
        if key in self._jobs:
            raise Refusal(
                "ResourceInUse",
                "Training job names must be unique within an AWS account and region, and a "
                f"training job with this name already exists ({self._jobs[key].arn})",
            )
        role = request["RoleArn"]
        means = replace(self._means, s3=sagemaker_s3.as_role(self._means.s3, role, self._world))
        for channel in request.get("InputDataConfig", ()):
            _check_source(channel["DataSource"].get("S3DataSource"), means.s3, role)
        rules.check_limits(request, self._used(call.region), self.controls.limits)
        tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", ())}
        job = self._jobs[key] = TrainingJob(request, call.region, tags)
        job.move("Starting")
        lacking = self.controls.no_capacity & rules.instances(request).keys()
        if lacking:
            job.move(
                "Failed",
                "Failed",
                "CapacityError: Unable to provision requested ML compute capacity. "
                "Please retry using a different ML instance type.",
            )
        elif self._means.executor:
            run = self._runs[job.name] = Run(job, means, self._world.lock)
            run.start()
        return {"TrainingJobArn": job.arn}

    def _used(self, region: str) -> dict[str, int]:
        used: dict[str, int] = {}
        for (where, _), job in self._jobs.items():
            if where == region and not job.is_over:
                for kind, count in rules.instances(job.request).items():
                    used[kind] = used.get(kind, 0) + count
        return used

    def _describe(self, call: Call, request: dict[str, Any]) -> Mapping[str, Any]:
        return self._found(call, request["TrainingJobName"]).describe()

    def _stop(self, call: Call, request: dict[str, Any]) -> Mapping[str, Any]:
        job = self._found(call, request["TrainingJobName"])
        if job.is_over:
            raise Refusal(
                "ValidationException",
                f"The request was rejected because the training job is in status {job.status}.",
            )
        job.move("Stopping", "Stopping")
        if run := self._runs.get(job.name):
            run.ask("stop")
        else:
            job.move("Stopped", "Stopped")
        return {}

    def _delete(self, call: Call, request: dict[str, Any]) -> Mapping[str, Any]:
        job = self._found(call, request["TrainingJobName"])
        if not job.is_over:
            raise Refusal("ResourceInUse", f"The training job is in status {job.status}.")
        del self._jobs[job.region, job.name]
        return {}

    def _list(self, call: Call, request: dict[str, Any]) -> Mapping[str, Any]:
        found = [
            job
            for (region, name), job in self._jobs.items()
            if region == call.region
            and request.get("NameContains", "").lower() in name.lower()
            and job.status == request.get("StatusEquals", job.status)
            and _is_within(request, "CreationTime", job.created_at)
            and _is_within(request, "LastModifiedTime", job.modified_at)
        ]
        keys: dict[str, Callable[[TrainingJob], Any]] = {
            "Name": lambda job: job.name,
            "Status": lambda job: job.status,
            "CreationTime": lambda job: job.created_at,
        }
        order = keys[request.get("SortBy", "CreationTime")]
        found.sort(key=order, reverse=request.get("SortOrder", "Descending") == "Descending")
        start, size = int(request.get("NextToken", 0)), request.get("MaxResults", PAGE)
        page: dict[str, Any] = {
            "TrainingJobSummaries": [job.summary() for job in found[start : start + size]]
        }
        if start + size < len(found):
            page["NextToken"] = str(start + size)
        return page

    def _add_tags(self, call: Call, request: dict[str, Any]) -> Mapping[str, Any]:
        job = self._by_arn(request["ResourceArn"])
        job.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        return {"Tags": _listed(job.tags)}

    def _list_tags(self, call: Call, request: dict[str, Any]) -> Mapping[str, Any]:
        return {"Tags": _listed(self._by_arn(request["ResourceArn"]).tags)}

    def _delete_tags(self, call: Call, request: dict[str, Any]) -> Mapping[str, Any]:
        job = self._by_arn(request["ResourceArn"])
        for name in request["TagKeys"]:
            job.tags.pop(name, None)
        return {}

    def _found(self, call: Call, name: str) -> TrainingJob:
        if (call.region, name) not in self._jobs:
            raise NOT_FOUND
        return self._jobs[call.region, name]

    def _by_arn(self, arn: str) -> TrainingJob:
        for job in self._jobs.values():
            if job.arn == arn:
                return job
        raise NOT_FOUND


def _check_source(source: dict[str, Any] | None, s3: Any, role: str) -> None:
    """Raise Refusal for a channel in which its job's role sees nothing."""
    if source is None:
        raise Refusal("ValidationException", "Only S3 data sources are served here.")
    if not sagemaker_s3.has_any(s3, source):
        raise Refusal(
            "ValidationException",
            f'No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source. '
            "Please ensure that the bucket exists in the selected region, that objects exist "
            f'under that S3 prefix, and that the role "{role}" has "s3:ListBucket" permissions '
            "on the bucket.",
        )


def _is_within(request: dict[str, Any], name: str, when_s: float) -> bool:
    after, before = request.get(f"{name}After", 0.0), request.get(f"{name}Before", math.inf)
    return bool(after <= when_s <= before)


def _listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _trust(arn: str) -> Mapping[str, Any] | None:
    """Return the trust policy of a role; the cloud holds moto's lock around an operation."""
    for role in get_backend("iam")[ACCOUNT]["aws"].roles.values():
        if role.arn == arn:
            trust: Mapping[str, Any] = json.loads(role.assume_role_policy_document)
            return trust
    return None
