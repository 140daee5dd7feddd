"""The providers by name; none is imported before it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core.errors import UsageError
from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from llmcloud.core.buckets import Buckets
    from llmcloud.core.catalog import Catalog, Refreshed
    from llmcloud.core.home import Home
    from llmcloud.core.instances import Instances
    from llmcloud.core.provider import Compute


@dataclass(frozen=True)
class Registered:
    """Where a provider lies; `sdk` is the module that `extra` brings."""

    module: str
    sdk: str | None = None
    extra: str = ""


PROVIDERS = {
    "local": Registered("llmcloud.providers.local.compute"),
    "aws": Registered("llmcloud.providers.aws.compute", "boto3", "aws"),
    "gcp": Registered("llmcloud.providers.gcp.compute", "google.cloud.storage", "gcp"),
    "azure": Registered("llmcloud.providers.azure.compute", "azure.identity", "azure"),
    "edge": Registered("llmcloud.providers.edge.compute"),
}
BUCKETS = {
    "s3": Registered("llmcloud.providers.aws.buckets", "boto3", "aws"),
    "gs": Registered("llmcloud.providers.gcp.buckets", "google.cloud.storage", "gcp"),
    "az": Registered("llmcloud.providers.azure.buckets", "azure.storage.blob", "azure"),
}
INSTANCES = {"aws": Registered("llmcloud.providers.aws.instances", "boto3", "aws")}
CATALOGS = {"aws": "llmcloud.providers.aws.offers"}
REFRESHING = {"aws": Registered("llmcloud.providers.aws.refresh", "boto3", "aws")}


def available() -> list[str]:
    """Return the providers that this version has."""
    return [name for name, each in PROVIDERS.items() if _exists(each.module)]


def installed() -> list[str]:
    """Return those of them that this installation has the packages for."""
    return [name for name in available() if not (sdk := PROVIDERS[name].sdk) or _exists(sdk)]


def compute(name: str, home: Home, providers: dict[str, Registered] = PROVIDERS) -> Compute:
    """Return a provider's Compute; UsageError when this version or this install lacks it."""
    registered = providers.get(name)
    if registered is None or not _exists(registered.module):
        raise UsageError(
            f"The provider {name} is not in this version.",
            fix=f"Use one of: {', '.join(available())} (e.g. --set provider=local).",
        )
    made: Compute = _load(name, registered).make(home)
    return made


def buckets(scheme: str, clouds: dict[str, Registered] = BUCKETS) -> Buckets:
    """Return what makes and opens the buckets of a scheme; InvalidRequest for an unknown one."""
    registered = clouds.get(scheme)
    if registered is None or not _exists(registered.module):
        raise InvalidRequest(
            f"{scheme}:// is no store that this version can use.",
            fix=f"Use one of: file://, {', '.join(f'{each}://' for each in clouds)}.",
        )
    made: Buckets = _load(f"{scheme}://", registered).make()
    return made


def instances(provider: str) -> Instances:
    """Return a provider's machines by themselves; UsageError when it has none."""
    registered = INSTANCES.get(provider)
    if registered is None:
        raise UsageError(
            f"{provider} has no machines by themselves in this version.",
            fix=f"Use one of: {', '.join(INSTANCES)} (--provider {next(iter(INSTANCES))}).",
        )
    made: Instances = _load(provider, registered).make()
    return made


def catalog(provider: str) -> Catalog:
    """Return what a provider's catalog lists, which takes no SDK; UsageError without one."""
    _check_catalog(provider)
    found: Catalog = importlib.import_module(CATALOGS[provider]).read()
    return found


def refresh(provider: str, home: Home, tell: Callable[[int, int], None]) -> Refreshed:
    """Ask a cloud for its prices and keep them in `home`, where `catalog` finds them."""
    _check_catalog(provider)
    done: Refreshed = _load(provider, REFRESHING[provider]).refresh(home, tell)
    return done


def _check_catalog(provider: str) -> None:
    if provider not in CATALOGS:
        raise UsageError(
            f"There is no catalog of {provider}'s machines.",
            fix=f"Use one of: {', '.join(CATALOGS)}.",
        )


def _load(name: str, registered: Registered) -> ModuleType:
    if registered.sdk and not _exists(registered.sdk):
        raise UsageError(
            f"{name} needs packages that are not installed.",
            where=f"no module {registered.sdk}",
            fix=f"pip install 'llmcloud[{registered.extra}]'",
        )
    return importlib.import_module(registered.module)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False
