"""What the keys of a job file ask of each other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmcloud.core.spec.fields import Finding
from llmcloud.runtime.launch import hyperparameter_variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmcloud.core.spec.models import JobSpec

RESERVED = "LLMCLOUD_"
TEXT_MAX_BYTES = 120_000  # Linux starts no program with an argument or variable of 128 KiB


def broken(spec: JobSpec) -> Iterator[Finding]:
    """Yield every rule that a job breaks whose values are right by themselves."""
    yield from _odd_roles(spec)
    yield from _odd_names(spec)
    yield from _long_texts(spec)


def _odd_roles(spec: JobSpec) -> Iterator[Finding]:
    if spec.roles and "resources" in spec.model_fields_set:
        yield Finding("Both resources and roles say what the nodes are", "Keep one", "roles")
    if (
        spec.roles
        and (spec.roles.ps or spec.roles.evaluator)
        and spec.launcher.name in {"torchrun", "mpirun"}
    ):
        yield Finding(
            f"{spec.launcher.name} treats all nodes alike: it knows no ps and no evaluator",
            "Use the launcher tensorflow, parameter-server or none",
            "launcher",
        )
    if spec.launcher.name == "parameter-server" and not (spec.roles and spec.roles.ps):
        yield Finding(
            "The launcher parameter-server needs parameter servers",
            "Add roles with ps, and a worker or a chief",
            "launcher",
        )


def _odd_names(spec: JobSpec) -> Iterator[Finding]:
    for key, names in (("env", list(spec.env)), ("secrets", spec.secrets)):
        for name in names:
            if name.upper().startswith(RESERVED):
                yield Finding(f"{name}: llmcloud sets {RESERVED}… itself", "Rename it", key)
    for name in sorted(set(spec.secrets) & set(spec.env)):
        yield Finding(f"{name} is in env too", "Keep it in one of the two", "secrets")
    yield from _repeated("hyperparameters", map(hyperparameter_variable, spec.hyperparameters))
    yield from _repeated("data", (each.target for each in spec.data))
    yield from _repeated("secrets", spec.secrets)


def _long_texts(spec: JobSpec) -> Iterator[Finding]:
    texts = [("run", spec.run), ("setup", spec.setup)] + [
        ("env", each) for each in spec.env.values()
    ]
    for key, text in texts:
        if len(str(text).encode()) > TEXT_MAX_BYTES:
            hint = "Put it into a file beside the job file"
            yield Finding(f"A text is longer than {TEXT_MAX_BYTES:,} bytes", hint, key)


def _repeated(key: str, names: Iterable[str]) -> Iterator[Finding]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Finding(f"{name} is there {count} times", "Rename or remove one", key)
