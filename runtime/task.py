"""What a node is told to do: the part of a job that travels, frozen and free of cloud words."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from llmcloud.runtime.documents import known, reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Part = TypeVar("Part")
LINK = "link"


@dataclass(frozen=True)
class DataSource:
    """A tree to bring to the node.

    `source` is a store prefix (`data/SHA256/`) or a URL; `target` is relative to the work folder,
    or absolute; `mode` is copy or mount, or LINK to what a service has brought already.
    """

    source: str
    target: str
    mode: str = "copy"


@dataclass(frozen=True)
class CheckpointPolicy:
    """`path` is relative to the code folder; `keep` newest ones stay in the store (0: all)."""

    path: str = "checkpoints"
    interval_s: float = 60.0
    keep: int = 3


@dataclass(frozen=True)
class MetricPattern:
    """A metric that the user reads off a line; group 1 of `regex` is the number."""

    name: str
    regex: str


@dataclass(frozen=True)
class Task:
    """One job as its nodes see it; `roles[rank]` names each node's role."""

    job: str
    name: str
    run: str
    roles: tuple[str, ...] = ("worker",)
    setup: str = ""
    launcher: str = "none"
    processes_per_node: int = 1
    accelerators_per_node: int = 0
    code: str | None = None
    data: tuple[DataSource, ...] = ()
    hyperparameters: dict[str, str | int | float | bool] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    outputs: tuple[str, ...] = ()
    metrics: tuple[MetricPattern, ...] = ()
    max_duration_s: float | None = None
    retries: int = 0
    grace_s: float = 30.0

    @property
    def nodes(self) -> int:
        """Return how many nodes the job has."""
        return len(self.roles)

    def to_json(self) -> bytes:
        """Return the task as it lies in job.json."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Task:
        """Read a task; fields of a newer version are passed over."""
        with reading("The task of a job"):
            fields = known(cls, json.loads(data))
            return cls(
                **{
                    **fields,
                    "roles": tuple(fields.get("roles", cls.roles)),
                    "data": _each(DataSource, fields.get("data", ())),
                    "secrets": tuple(fields.get("secrets", ())),
                    "checkpoints": CheckpointPolicy(
                        **known(CheckpointPolicy, fields.get("checkpoints", {}))
                    ),
                    "outputs": tuple(fields.get("outputs", ())),
                    "metrics": _each(MetricPattern, fields.get("metrics", ())),
                }
            )


def _each(kind: type[Part], found: Iterable[Mapping[str, Any]]) -> tuple[Part, ...]:
    return tuple(kind(**known(kind, each)) for each in found)
