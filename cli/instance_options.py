"""What `llmcloud instances create` is given, as the part of a job file that says the same."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcloud.core import registry
from llmcloud.core.config import Config
from llmcloud.core.errors import UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from llmcloud.core.catalog import Listing
    from llmcloud.core.home import Home
    from llmcloud.core.spec.models import JobSpec

NEVER = "none"
DEFAULT_LIFE = "8h"
# Where the job file has what an option says.
OPTIONS = {
    "name": "NAME",
    "region": "--region",
    "resources.accelerator": "--accelerator",
    "resources.instance_type": "--type",
    "resources.cpus": "--cpus",
    "resources.memory": "--memory",
    "resources.disk": "--disk",
    "resources.image": "--image",
    "limits.max_duration": "--for",
    "labels": "--label",
}


def _listings() -> list[Listing]:
    return [each for name in registry.CATALOGS for each in registry.catalog(name).listings]


def _accelerators(incomplete: str) -> list[str]:
    found = {f"{each.accelerator}:{each.accelerators}" for each in _listings() if each.accelerator}
    written = {each.lower() if incomplete.islower() else each for each in found}
    return sorted(each for each in written if each.startswith(incomplete))


def _types(incomplete: str) -> list[str]:
    names = {each.instance_type for each in _listings()}
    return sorted(name for name in names if name.startswith(incomplete))


def _providers(incomplete: str) -> list[str]:
    return [name for name in registry.INSTANCES if name.startswith(incomplete)]


def _text(option: str, metavar: str, text: str, **more: Any) -> Any:
    return typer.Option(option, metavar=metavar, help=text, show_default=False, **more)


AcceleratorOption = Annotated[
    str,
    _text("--accelerator", "NAME:COUNT", "Which GPUs, like A100:1.", autocompletion=_accelerators),
]
TypeOption = Annotated[
    str, _text("--type", "TYPE", "Instead: the cloud's own name.", autocompletion=_types)
]
CpusOption = Annotated[str, _text("--cpus", "COUNT", "Virtual CPUs; 8+ is a minimum.")]
MemoryOption = Annotated[str, _text("--memory", "SIZE", "Memory; 32GB+ is a minimum.")]
DiskOption = Annotated[str, _text("--disk", "SIZE", "The size of the disk, like 200GB.")]
ImageOption = Annotated[str, _text("--image", "IMAGE", "A machine image, by family or id.")]
RegionOption = Annotated[
    list[str] | None, _text("--region", "REGION", "Where; may be repeated, in order.")
]
SpotOption = Annotated[bool, typer.Option("--spot", help="Cheaper; may be taken away.")]
ForOption = Annotated[
    str,
    typer.Option("--for", metavar="TIME", help="When it ends itself, like 30m or 8h; or none."),
]
LabelOption = Annotated[list[str] | None, _text("--label", "KEY=VALUE", "A tag; may be repeated.")]
ProviderOption = Annotated[
    str, _text("--provider", "PROVIDER", "Of which cloud.", autocompletion=_providers)
]


@dataclass(frozen=True)
class Options:
    """The options as they were written, empty where they were not."""

    accelerator: str
    instance_type: str
    cpus: str
    memory: str
    disk: str
    image: str
    spot: bool
    regions: tuple[str, ...]
    life: str
    labels: tuple[str, ...]

    def spec(self, name: str, provider: str) -> JobSpec:
        """Return the machine that they say; UsageError names the option that is wrong."""
        from pydantic import ValidationError

        from llmcloud.core.spec.models import JobSpec

        machine: dict[str, Any] = {
            "accelerator": self.accelerator,
            "instance_type": self.instance_type,
            "cpus": self.cpus,
            "memory": self.memory,
        }
        if not any(machine.values()):
            raise UsageError(
                "This does not say which machine.",
                fix="Add --accelerator A100:1, --type m7i.large, or --cpus and --memory.",
            )
        machine |= {"disk": self.disk, "image": self.image, "spot": self.spot}
        document: dict[str, Any] = {
            "name": name,
            "provider": [provider],
            "run": "true",  # a job file has to; nothing runs
            "resources": {key: value for key, value in machine.items() if value},
            "labels": _labels(self.labels),
        }
        if self.regions:
            document["region"] = list(self.regions)
        if self.life != NEVER:
            document["limits"] = {"max_duration": self.life}
        try:
            return JobSpec.model_validate(document)
        except ValidationError as error:
            raise _refused(error) from error


def provider_of(named: str, home: Home) -> tuple[str, tuple[str, ...]]:
    """Return the provider that is meant, and the regions that the user's config has for it."""
    config = Config.load(home, os.environ)
    known = list(registry.INSTANCES)
    chosen = named or (config.provider if config.provider in known else known[0])
    is_same = config.region and config.provider in {None, chosen}
    return chosen, ((config.region,) if config.region and is_same else ())


def _labels(texts: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--label {text} is not KEY=VALUE.")
        labels[key] = value
    return labels


def _refused(error: ValidationError) -> UsageError:
    """Return the first finding, by the option that it is about."""
    from llmcloud.core.spec.fields import PROBLEM, Finding

    detail = error.errors(include_url=False)[0]
    said = detail["ctx"]["findings"] if detail["type"] == PROBLEM else [Finding(detail["msg"])]
    path = [str(each) for each in (*detail["loc"], said[0].at) if each]
    keys = (".".join(path[:length]) for length in (2, 1))
    option = next((OPTIONS[key] for key in keys if key in OPTIONS), ".".join(path))
    return UsageError(f"{option}: {said[0].message}.", fix=said[0].hint)
