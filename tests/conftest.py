"""In CI a skipped test is a failed one, unless it stands in the list below; and the emulators."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.rig.emulators.catalog import Emulators

    Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# Google's SDK would ask the network whether this is a machine of Google's; it reads this once.
os.environ["NO_GCE_CHECK"] = "true"

# The beginning of a test's id: why CI may skip it.
MAY_SKIP_IN_CI: dict[str, str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_skipped((yield))


def _failed_if_skipped(report: Report) -> Report:
    expected_failure = hasattr(report, "wasxfail")
    allowed = report.nodeid.startswith(tuple(MAY_SKIP_IN_CI))
    if report.skipped and not expected_failure and not allowed and "LLMCLOUD_CI" in os.environ:
        report.outcome = "failed"
        report.longrepr = f"Skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Give the emulators that others wrote; one runs from when it is first asked for."""
    from tests.rig.emulators.catalog import Emulators  # what most tests need no import of

    with Emulators(tmp_path_factory.mktemp("emulators")) as made:
        yield made
