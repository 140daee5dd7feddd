"""The stores of the contract suites, each with its emulator running and its gaps expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.stores import STORES, StoreRig

if TYPE_CHECKING:
    from tests.rig.emulators.catalog import Emulators


@pytest.fixture(params=STORES)
def store_rig(
    request: pytest.FixtureRequest, emulators: Emulators, monkeypatch: pytest.MonkeyPatch
) -> StoreRig:
    """Give each store in turn."""
    found = STORES[request.param]
    if found.emulator:
        for name, value in emulators.get(found.emulator).environ.items():
            monkeypatch.setenv(name, value)
    for test, gap in found.gaps.items():  # a name without parameters means all
        if test in (request.node.originalname, request.node.name):
            request.applymarker(pytest.mark.xfail(reason=gap, strict=True))
    return found
