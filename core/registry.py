"""The providers by name; none is imported before it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core.errors import UsageError

if TYPE_CHECKING:
    from llmcloud.core.home import Home
    from llmcloud.core.provider import Compute


@dataclass(frozen=True)
class Registered:
    """Where a provider lies; `sdk` is the module that its extra brings."""

    module: str
    sdk: str | None = None


PROVIDERS = {
    "local": Registered("llmcloud.providers.local.compute"),
    "aws": Registered("llmcloud.providers.aws.compute", "boto3"),
    "gcp": Registered("llmcloud.providers.gcp.compute", "google.cloud.storage"),
    "azure": Registered("llmcloud.providers.azure.compute", "azure.identity"),
    "edge": Registered("llmcloud.providers.edge.compute"),
}


def available() -> list[str]:
    """Return the providers that this version has."""
    return [name for name, each in PROVIDERS.items() if _exists(each.module)]


def compute(name: str, home: Home, providers: dict[str, Registered] = PROVIDERS) -> Compute:
    """Return a provider's Compute; UsageError when this version or this install lacks it."""
    registered = providers.get(name)
    if registered is None or not _exists(registered.module):
        raise UsageError(
            f"The provider {name} is not in this version.",
            fix=f"Use one of: {', '.join(available())} (e.g. --set provider=local).",
        )
    if registered.sdk and not _exists(registered.sdk):
        raise UsageError(
            f"The provider {name} needs packages that are not installed.",
            where=f"no module {registered.sdk}",
            fix=f"pip install 'llmcloud[{name}]'",
        )
    made: Compute = importlib.import_module(registered.module).make(home)
    return made


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False
