"""The stores of the contract suites, with emulators and expected gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.aws.remote import Remote
from tests.rig.stores import STORES, StoreRig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulators


@pytest.fixture(params=STORES)
def store_rig(request: pytest.FixtureRequest) -> StoreRig:
    """Give each store in turn."""
    return _ready(request)


@pytest.fixture(params=[name for name in STORES if name != "file"])
def bucket_rig(request: pytest.FixtureRequest) -> StoreRig:
    """Give each store in turn that is a bucket."""
    return _ready(request)


def _ready(request: pytest.FixtureRequest) -> StoreRig:
    found = STORES[request.param]
    emulators: Emulators = request.getfixturevalue("emulators")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    if found.emulator:
        for name, value in emulators.get(found.emulator).environ.items():
            monkeypatch.setenv(name, value)
    for test, gap in found.gaps.items():  # a name without parameters means all
        if test in (request.node.originalname, request.node.name):
            request.applymarker(pytest.mark.xfail(reason=gap, strict=True))
    return found


@pytest.fixture
def remote(
    emulators: Emulators, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Remote]:
    """Give the control calls of an AWS that the SDK finds, and that is a new account.

    At the end nothing was asked of it that it does not serve.
    """
    cloud = emulators.get("aws")
    for name, value in {**cloud.environ, "LLMCLOUD_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    remote = Remote(cloud.url)
    remote.post("reset")
    remote.delete("requests")
    yield remote
    problems = remote.get("problems")
    remote.post("reset")  # others use the same cloud
    assert not problems
