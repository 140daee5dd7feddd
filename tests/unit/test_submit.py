"""Submitting and resuming, as others see it who look meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.computes import COMPUTES

from llmcloud.core import plan as plans
from llmcloud.core import resume, submit
from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rig.computes import ComputeRig

    from llmcloud.core.provider import Launch, Machine


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ComputeRig]:
    yield from COMPUTES["local"].opened(tmp_path)


def test_who_submits_or_resumes_is_at_work_while_it_uploads_and_launches(
    rig: ComputeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """…for all that long: what takes hours is not taken for cut off."""
    seen: list[tuple[str, bool]] = []

    def see(what: str) -> None:
        seen.append((what, any(each.name == "reservation" for each in threading.enumerate())))

    def launch(_: Launch) -> list[Machine]:
        see("launch")
        raise InvalidRequest("No.")

    put_file = rig.store.put_file

    def upload(*args: Any) -> str:
        see("upload")
        return put_file(*args)

    monkeypatch.setattr(rig.compute, "launch", launch)
    monkeypatch.setattr(rig.store, "put_file", upload)
    loaded = rig.spec()
    plan, _ = plans.make(loaded, rig.home, "planned")
    made = submit.Submission(loaded, plan, rig.compute, rig.store, {}, lambda _: None)
    with pytest.raises(InvalidRequest):
        submit.run(made)
    (job,) = rig.store.folders("jobs/")
    with pytest.raises(InvalidRequest):
        resume.run(rig.store, rig.compute, job, {})
    assert seen == [("upload", True), ("launch", True), ("launch", True)]
