"""What holds for all tests: no network but loopback, in CI no skips; and the emulators."""

from __future__ import annotations

import gc
import importlib
import ipaddress
import os
import pkgutil
import sys
from typing import TYPE_CHECKING, TypeVar

import hypothesis
import pytest

import llmcloud
from llmcloud.runtime import process

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator

    from tests.rig.aws.rig import Rig
    from tests.rig.emulators.catalog import Emulators

    Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# Google's SDK would look buckets up in threads that outlive a test.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"
# It would ask the network whether this is a machine of Google's; it reads this once.
os.environ["NO_GCE_CHECK"] = "true"
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # nor the AWS SDK whether it is one of Amazon's

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


class NotLoopback(Exception):
    """A test would have reached out."""


def _stay_here(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse what this process asks of any network; what it starts is not seen."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in {"socket.connect", "socket.sendto"} and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        stays = ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        stays = name in {"localhost", os.uname().nodename} or name.endswith(".localhost")
    if not stays and name not in {"0.0.0.0", "::"}:
        raise NotLoopback(name)


if "LLMCLOUD_LIVE" not in os.environ:  # which runs a contract suite on a real account
    sys.addaudithook(_stay_here)

# The beginning of a test's id: why CI may skip it.
MAY_SKIP_IN_CI: dict[str, str] = {}


# Tests of the miniature AWS itself, and long ones on it: `make test-rig` runs them.
OF_THE_RIG = (
    "tests/contract/aws_cloud/",
    "tests/contract/aws_rig/",
    "tests/contract/test_aws_doctor.py",
    "tests/contract/test_aws_instances.py",
    "tests/contract/test_aws_refresh.py",
    "tests/contract/test_sagemaker.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(OF_THE_RIG):
            item.add_marker("rig")


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


@pytest.fixture(scope="session", autouse=True)
def _all_is_loaded() -> None:
    """Load all of llmcloud: Hypothesis draws constants from what is loaded.

    A module that is loaded between two examples changes what the next one draws, and the test is
    called flaky.
    """
    for module in pkgutil.walk_packages(llmcloud.__path__, "llmcloud."):
        if "templates" not in module.name:
            importlib.import_module(module.name)
    gc.freeze()  # transfers collect garbage after each failure; what is loaded never is any


@pytest.fixture(scope="session", autouse=True)
def _what_tests_started_stays() -> Iterator[None]:
    """Refuse to end all that is below this process: the emulators are, that other tests use."""
    kill_below = process.kill_below

    def guarded(pid: int, spare: Collection[int] = ()) -> None:
        assert pid != os.getpid(), "run this in a process of its own"
        kill_below(pid, spare)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "kill_below", guarded)
        yield


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Give the emulators that others wrote; one runs from when it is first asked for."""
    from tests.rig.emulators.catalog import Emulators  # what most tests need no import of

    with Emulators(tmp_path_factory.mktemp("emulators")) as made:
        yield made


@pytest.fixture(scope="session")
def aws_rig() -> Iterator[Rig]:
    """Give the miniature AWS with machines that boot; where there can be none, skip with why."""
    from tests.rig.aws import namespace, rig

    if reason := namespace.unavailable():
        pytest.skip(reason)
    with rig.up() as made:
        yield made
