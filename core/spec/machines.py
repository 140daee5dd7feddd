"""The machines of a job, in one kind or by role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmcloud.core.spec import fields  # noqa: TC001 - pydantic reads the annotations
from llmcloud.core.spec.fields import invalid

if TYPE_CHECKING:
    from pydantic.config import JsonDict

ROLES = ("chief", "worker", "ps", "evaluator")  # the order of the ranks

Nodes = Annotated[int, Field(ge=1, le=10_000)]
BY_ALL: JsonDict = {"honoured": "all"}
BY_CLOUDS: JsonDict = {"honoured": "clouds"}


class Model(BaseModel):
    """Part of a job file: no other keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Machine(Model):
    """What one node is made of."""

    accelerator: fields.Accelerator | None = Field(
        None,
        description="GPUs or TPU chips of each node: NAME:COUNT, or none.",
        examples=["A100:8"],
        json_schema_extra=BY_ALL,
    )
    instance_type: fields.Text | None = Field(
        None,
        description="The cloud's own name of a machine, instead of accelerator.",
        examples=["p4d.24xlarge"],
        json_schema_extra=BY_CLOUDS,
    )
    cpus: fields.Cpus | None = Field(
        None,
        description="Virtual CPUs of each node; `8+` is a minimum.",
        examples=["8+"],
        json_schema_extra=BY_ALL,
    )
    memory: fields.Memory | None = Field(
        None,
        description="Memory of each node; `32GB+` is a minimum.",
        examples=["32GB+"],
        json_schema_extra=BY_ALL,
    )
    disk: fields.Size | None = Field(
        None,
        description="The disk of each node; on this machine, what must be free.",
        examples=["200GB"],
        json_schema_extra=BY_ALL,
    )
    spot: Literal[True, False, "fallback"] = Field(
        False,
        description="Cheaper machines that may be taken away; fallback: first spot, then not.",
        examples=["fallback"],
        json_schema_extra=BY_CLOUDS,
    )
    image: fields.Text | None = Field(
        None,
        description="A named image family, the cloud's own id, or a container image.",
        examples=["pytorch"],
        json_schema_extra=BY_CLOUDS,
    )

    @property
    def accelerators(self) -> int:
        """Return how many GPUs or chips the node has."""
        return self.accelerator.count if self.accelerator else 0

    @model_validator(mode="after")
    def _check_one_choice(self) -> Self:
        if self.accelerator and self.instance_type:
            raise invalid(
                "Both accelerator and instance_type choose the machine",
                "Keep one of them",
                at="instance_type",
            )
        return self


@dataclass(frozen=True)
class MachineGroup:
    """Nodes that are alike; `path` is where the job file says what they are."""

    path: str
    count: int
    machine: Machine


class Resources(Machine):
    """The machines, where all nodes are alike."""

    nodes: Nodes = Field(
        1, description="How many machines.", examples=[2], json_schema_extra=BY_ALL
    )


class Role(Machine):
    """The machines of one role."""

    count: Nodes = Field(
        1, description="How many machines of this role.", examples=[3], json_schema_extra=BY_ALL
    )


class Roles(Model):
    """The machines, where they differ by role."""

    chief: Role | None = Field(
        None,
        description="The node that leads; at most one.",
        examples=[{"accelerator": "L4:1"}],
        json_schema_extra=BY_ALL,
    )
    worker: Role | None = Field(
        None,
        description="The nodes that train.",
        examples=[{"count": 3, "accelerator": "L4:1"}],
        json_schema_extra=BY_ALL,
    )
    ps: Role | None = Field(
        None,
        description="Parameter servers.",
        examples=[{"count": 1, "cpus": 8}],
        json_schema_extra=BY_ALL,
    )
    evaluator: Role | None = Field(
        None,
        description="The nodes that evaluate beside the training.",
        examples=[{"cpus": 4}],
        json_schema_extra=BY_ALL,
    )

    @property
    def present(self) -> tuple[tuple[str, Role], ...]:
        """Return the roles that the job has, in the order of their ranks."""
        all_roles = zip(ROLES, (self.chief, self.worker, self.ps, self.evaluator), strict=True)
        return tuple((name, role) for name, role in all_roles if role)

    @model_validator(mode="after")
    def _check_roles(self) -> Self:
        if not (self.chief or self.worker):
            raise invalid("No role trains", "Add a worker, or a chief")
        if self.chief and self.chief.count != 1:
            raise invalid("There is one chief only", "Make the others workers", at="chief")
        return self
