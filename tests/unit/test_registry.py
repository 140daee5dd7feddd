"""A provider is found by its name, and what it lacks is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmcloud.core import registry
from llmcloud.core.errors import UsageError
from llmcloud.core.home import Home
from llmcloud.core.registry import Registered

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = "llmcloud.providers.local.compute"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / "config.yaml")


def test_a_provider_of_this_version_is_made(home: Home) -> None:
    assert registry.compute("local", home).name == "local"


def test_a_missing_sdk_is_told_with_the_extra_that_brings_it(home: Home) -> None:
    providers = {"aws": Registered(LOCAL, "no_such_sdk.at_all", "aws")}
    with pytest.raises(UsageError) as caught:
        registry.compute("aws", home, providers)
    assert caught.value.fix == "pip install 'llmcloud[aws]'"


@pytest.mark.parametrize("name", ["gcp", "one-of-a-newer-version"])
def test_a_provider_that_this_version_lacks_is_told_with_those_it_has(
    home: Home, name: str
) -> None:
    with pytest.raises(UsageError, match="not in this version") as caught:
        registry.compute(name, home)
    assert "local" in caught.value.fix


def test_only_what_is_there_is_available() -> None:
    assert registry.available() == ["local", "aws"]
