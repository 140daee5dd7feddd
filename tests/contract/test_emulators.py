"""What the emulators that others wrote do, and where they don't do what the vendor does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.emulators.catalog import EMULATORS

if TYPE_CHECKING:
    from tests.rig.emulators.catalog import Emulators


@pytest.mark.parametrize("name", EMULATORS)
def test_an_emulator_starts_once(emulators: Emulators, name: str) -> None:
    assert emulators.get(name) is emulators.get(name)
