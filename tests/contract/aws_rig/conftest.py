"""The rig's namespace and its hypervisor, one for all tests here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.aws import hypervisor, namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.aws.hypervisor import Machines
    from tests.rig.aws.namespace import Namespace


@pytest.fixture(scope="session")
def space() -> Iterator[Namespace]:
    """Give namespaces that are up; where there can be none, the reason is the skip's."""
    if reason := namespace.unavailable():
        pytest.skip(reason)
    with namespace.opened() as made:
        yield made


@pytest.fixture(scope="session")
def machines(space: Namespace) -> Iterator[Machines]:
    """Give what boots instances."""
    with hypervisor.running(space) as made:
        yield made
