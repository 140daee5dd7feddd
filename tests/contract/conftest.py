"""The stores of the contract suites, with emulators and expected gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.stores import STORES, StoreRig

if TYPE_CHECKING:
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
