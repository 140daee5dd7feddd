"""What of a job file travels to the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.runtime.task import CheckpointPolicy, MetricPattern, Task

if TYPE_CHECKING:
    from llmcloud.core.spec.models import JobSpec
    from llmcloud.runtime.task import DataSource


def task_of(spec: JobSpec, *, job: str, code: str | None, data: tuple[DataSource, ...]) -> Task:
    """Return a job as its nodes see it; `code` and `data` say where submit has put them."""
    limit = spec.limits.max_duration
    return Task(
        job=job,
        name=spec.name,
        run=spec.run,
        roles=spec.role_list(),
        setup=spec.setup,
        launcher=spec.launcher.name,
        processes_per_node=spec.processes_per_node(),
        accelerators_per_node=spec.accelerators_per_node(),
        code=code,
        data=data,
        hyperparameters=dict(spec.hyperparameters),
        env=dict(spec.env),
        secrets=spec.secrets,
        checkpoints=CheckpointPolicy(
            path=spec.checkpoints.path,
            interval_s=float(spec.checkpoints.interval.seconds),
            keep=spec.checkpoints.keep,
        ),
        outputs=spec.outputs,
        metrics=tuple(MetricPattern(each.name, each.regex) for each in spec.metrics),
        max_duration_s=float(limit.seconds) if limit else None,
        retries=spec.limits.retries,
    )
