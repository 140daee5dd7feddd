"""The job file as frozen models; docs/spec.md is made from the descriptions here."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from llmcloud.core.spec import fields, rules, units
from llmcloud.core.spec.fields import invalid
from llmcloud.core.spec.machines import (
    BY_ALL,
    BY_CLOUDS,
    MachineGroup,
    Model,
    Resources,
    Roles,
)

ONE_PROCESS_LAUNCHERS = ("none", "tensorflow", "parameter-server")

LauncherName = Literal["none", "torchrun", "mpirun", "tensorflow", "parameter-server"]
T = TypeVar("T")
Many = Annotated[tuple[T, ...], Field(strict=False)]  # written as a list


class Code(Model):
    """The folder that goes to the nodes."""

    path: fields.Text = Field(
        ".",
        description="The folder, relative to the job file's. `.git` and `checkpoints.path` never "
        "travel; `.gitignore` and `.llmcloudignore` are honoured; all else does.",
        examples=["src"],
        json_schema_extra=BY_ALL,
    )
    exclude: Many[fields.Text] = Field(
        (),
        description="More patterns to leave out, written as in a .gitignore.",
        examples=[["*.ipynb"]],
        json_schema_extra=BY_ALL,
    )
    max_size: fields.Size = Field(
        units.Size(10**9),
        description="A bigger folder is refused: it most likely holds what should not travel.",
        examples=["2GB"],
        json_schema_extra=BY_ALL,
    )


class Data(Model):
    """One tree that the training reads."""

    source: fields.DataLocation = Field(
        description="A local path (relative to the job file's folder), or an s3://, gs://, az:// "
        "or file:// URL, such as `llmcloud data push` prints. Of a local folder, ignore files "
        "count as in code, and links stay.",
        examples=["./corpus"],
        json_schema_extra=BY_ALL,
    )
    target: fields.Target = Field(
        description="Where it appears on the node: relative to the work folder, or absolute.",
        examples=["data"],
        json_schema_extra=BY_ALL,
    )
    mode: Literal["copy", "mount"] = Field(
        "copy",
        description="Copy it before the training starts, or mount it.",
        examples=["mount"],
        json_schema_extra=BY_ALL,
    )


class Launcher(Model):
    """How the processes of the training are started."""

    name: LauncherName = Field(
        "none",
        description="none runs the command once a node; tensorflow and parameter-server too, with "
        "TF_CONFIG; torchrun and mpirun start several processes a node.",
        examples=["torchrun"],
        json_schema_extra=BY_ALL,
    )
    processes: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Processes a node, for torchrun and mpirun; left out, one an accelerator "
        "(one a node for TPUs, or without any).",
        examples=[2],
        json_schema_extra=BY_ALL,
    )

    @model_validator(mode="after")
    def _check_processes(self) -> Self:
        if self.name in ONE_PROCESS_LAUNCHERS and (self.processes or 1) > 1:
            raise invalid(
                f"The launcher {self.name} starts one process a node",
                "Use torchrun or mpirun for several",
                at="processes",
            )
        return self


class Checkpoints(Model):
    """What is saved while the training runs."""

    path: fields.FolderInside = Field(
        "checkpoints",
        description="The folder of the checkpoints, relative to the code. A file whose name ends "
        "in its step (`model-100.pt`, `step=100.ckpt`), or a folder called like "
        "`checkpoint-100`, `step_100`, `epoch-3` or `100`, is one; what lies beside those is not "
        "saved. Without such names the whole folder is one. What a new job finds there came with "
        "its code.",
        examples=["checkpoints"],
        json_schema_extra=BY_ALL,
    )
    interval: fields.Duration = Field(
        units.Duration(60),
        description="The least time between two checkpoints that are shipped; the newest wins. "
        "With several nodes of which not all save one, it takes some ten seconds more.",
        examples=["60s"],
        json_schema_extra=BY_ALL,
    )
    keep: Annotated[int, Field(ge=0, le=100_000)] = Field(
        3,
        description="How many of the newest stay in the store; 0 keeps all.",
        examples=[3],
        json_schema_extra=BY_ALL,
    )


class Metric(Model):
    """A number to read off the lines that the training prints."""

    name: fields.MetricName = Field(
        description="What to call it: `loss` draws the curve, `step` the progress.",
        examples=["loss"],
        json_schema_extra=BY_ALL,
    )
    regex: fields.Regex = Field(
        description="A regular expression whose one group is the number.",
        examples=["loss=([0-9.]+)"],
        json_schema_extra=BY_ALL,
    )


class Limits(Model):
    """Where the job ends even if the training does not."""

    max_duration: fields.Duration | None = Field(
        None,
        description="A job that has run for longer since its submit or resume is stopped, and "
        "fails; setup and retries count.",
        examples=["24h"],
        json_schema_extra=BY_ALL,
    )
    max_cost: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None,
        description="US dollars; machines that could cost more in max_duration are not taken.",
        examples=[50],
        json_schema_extra=BY_ALL,
    )
    retries: Annotated[int, Field(ge=0, le=1000)] = Field(
        0,
        description="How often a failed attempt is tried again, from its newest checkpoint; "
        "machines that were taken away do not count.",
        examples=[3],
        json_schema_extra=BY_ALL,
    )


class JobSpec(Model):
    """A job file."""

    name: fields.Name = Field(
        description="What the job is called: up to 40 of a-z, 0-9 and -.",
        examples=["gpt2-finetune"],
        json_schema_extra=BY_ALL,
    )
    provider: fields.Providers = Field(
        ("local",),
        description="Where to run: one of local, aws, gcp, azure, edge, any; or several in order "
        "of preference. Left out: LLMCLOUD_PROVIDER, else the user's config file, else local.",
        examples=["aws", ["aws", "gcp"]],
        json_schema_extra=BY_ALL,
    )
    service: Literal["vm", "managed"] = Field(
        "vm",
        description="Machines of your own, or the cloud's training service.",
        examples=["managed"],
        json_schema_extra=BY_CLOUDS,
    )
    region: fields.Regions | None = Field(
        None,
        description="A region, or several in order of preference. Left out: the user's config "
        "file, else any that the catalog offers.",
        examples=["us-east-1", ["us-east-1", "us-west-2"]],
        json_schema_extra=BY_CLOUDS,
    )
    resources: Resources = Field(
        Resources(),
        description="The machines, where all nodes are alike.",
        examples=[{"accelerator": "A100:8", "nodes": 2}],
        json_schema_extra=BY_ALL,
    )
    roles: Roles | None = Field(
        None,
        description="The machines, where they differ by role; instead of resources.",
        examples=[
            {"chief": {"accelerator": "L4:1"}, "worker": {"count": 3, "accelerator": "L4:1"}}
        ],
        json_schema_extra=BY_ALL,
    )
    code: Annotated[Code, fields.from_text("path", str | Code)] = Field(
        Code(),
        description="The folder that goes to the nodes; a text is its path.",
        examples=["."],
        json_schema_extra=BY_ALL,
    )
    data: Many[Data] = Field(
        (),
        description="What the training reads.",
        examples=[[{"source": "./corpus", "target": "data"}]],
        json_schema_extra=BY_ALL,
    )
    setup: fields.Text = Field(
        "",
        description="Shell commands that run once before the training, in a virtual environment; "
        "the first that fails ends them.",
        examples=["pip install -r requirements.txt"],
        json_schema_extra=BY_ALL,
    )
    run: fields.Text = Field(
        description="The shell command that trains; `{hyperparameters}` in it becomes "
        "`--learning_rate=0.0003 --batch_size=32`. Of several, the first that fails ends it.",
        examples=["python train.py {hyperparameters}"],
        json_schema_extra=BY_ALL,
    )
    launcher: Annotated[Launcher, fields.from_text("name", LauncherName | Launcher)] = Field(
        Launcher(),
        description="How the training is started; a text is the launcher's name.",
        examples=["torchrun", {"name": "torchrun", "processes": 2}],
        json_schema_extra=BY_ALL,
    )
    hyperparameters: dict[fields.Parameter, fields.Scalar] = Field(
        {},
        description="Numbers, texts and booleans that the training gets as a JSON file (its path "
        "is LLMCLOUD_HYPERPARAMETERS), in its environment (LLMCLOUD_HP_LEARNING_RATE), and in "
        "place of `{hyperparameters}`.",
        examples=[{"learning_rate": 3.0e-4, "batch_size": 32}],
        json_schema_extra=BY_ALL,
    )
    env: dict[fields.Variable, str] = Field(
        {},
        description="Environment variables. Numbers and booleans need quotes, so that 1.10 stays "
        "1.10.",
        examples=[{"TOKENIZERS_PARALLELISM": "false"}],
        json_schema_extra=BY_ALL,
    )
    secrets: Many[fields.Variable] = Field(
        (),
        description="Names of environment variables whose values come from the submitter's "
        "environment, or the cloud's secret store, and are never written down.",
        examples=[["HF_TOKEN"]],
        json_schema_extra=BY_ALL,
    )
    checkpoints: Checkpoints = Field(
        Checkpoints(),
        description="What is saved while the training runs.",
        examples=[{"path": "checkpoints", "interval": "60s", "keep": 3}],
        json_schema_extra=BY_ALL,
    )
    outputs: Many[fields.FolderInside] = Field(
        (),
        description="Files and folders to keep when an attempt ends, relative to the code. The "
        "first one whose name has no suffix is LLMCLOUD_OUTPUT_DIR; without one, `outputs` is.",
        examples=[["results/"]],
        json_schema_extra=BY_ALL,
    )
    metrics: Many[Metric] = Field(
        (),
        description="Numbers to read off the output, beside those that are found unasked.",
        examples=[[{"name": "loss", "regex": "loss=([0-9.]+)"}]],
        json_schema_extra=BY_ALL,
    )
    limits: Limits = Field(
        Limits(),
        description="Where the job ends even if the training does not.",
        examples=[{"max_duration": "24h", "max_cost": 50, "retries": 3}],
        json_schema_extra=BY_ALL,
    )
    labels: dict[fields.Label, fields.LabelValue] = Field(
        {},
        description="Tags of every resource that the job makes.",
        examples=[{"team": "nlp"}],
        json_schema_extra=BY_ALL,
    )
    store: fields.StoreUrl | None = Field(
        None,
        description="The URL of the object store to keep the job in. Left out: the user's config "
        "file, else the provider's own.",
        examples=["file:///mnt/jobs"],
        json_schema_extra=BY_ALL,
    )

    def role_list(self) -> tuple[str, ...]:
        """Return the role of each rank: chief, workers, ps, evaluators."""
        if not self.roles:
            return ("worker",) * self.resources.nodes
        return tuple(name for name, role in self.roles.present for _ in range(role.count))

    def machine_groups(self) -> tuple[MachineGroup, ...]:
        """Return what the nodes are made of, in the order of their ranks."""
        if not self.roles:
            return (MachineGroup("resources", self.resources.nodes, self.resources),)
        return tuple(
            MachineGroup(f"roles.{name}", role.count, role) for name, role in self.roles.present
        )

    def accelerators_per_node(self) -> int:
        """Return the accelerators of the best equipped node."""
        return max(group.machine.accelerators for group in self.machine_groups())

    def processes_per_node(self) -> int:
        """Return how many processes the launcher starts on each node."""
        if self.launcher.name in ONE_PROCESS_LAUNCHERS:
            return 1
        machines = [group.machine for group in self.machine_groups()]
        tpu = any(m.accelerator and m.accelerator.is_tpu for m in machines)
        return self.launcher.processes or (1 if tpu else self.accelerators_per_node() or 1)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        findings = list(rules.broken(self))
        if findings:
            raise fields.all_invalid(findings)
        return self
