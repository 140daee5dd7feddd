"""What every provider of machines promises, whoever it is."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
from tests.rig.computes import COMPUTES, ComputeRig
from tests.rig.waits import LIVE, eventually

from llmcloud.core.provider import MachineState
from llmcloud.runtime.errors import NoCapacity, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmcloud.core.job import Job

UP = {MachineState.STARTING, MachineState.RUNNING}
TWO_NODES = "run: sleep 1000\nresources: {nodes: 2}\n"


@pytest.fixture(params=COMPUTES)
def rig(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ComputeRig]:
    provider = COMPUTES[request.param]
    if LIVE and provider.emulator != LIVE:
        pytest.skip(f"only {LIVE} itself is looked at")
    if provider.emulator and not LIVE:
        emulators = request.getfixturevalue("emulators")
        for name, value in emulators.get(provider.emulator).environ.items():
            monkeypatch.setenv(name, value)
    yield from provider.opened(tmp_path)


@pytest.fixture
def launched(rig: ComputeRig) -> Job:
    """A job of two nodes whose machines were asked for."""
    job = rig.staged(TWO_NODES)
    rig.launch(job)
    return job


def states(rig: ComputeRig, job: Job) -> dict[int, MachineState]:
    return {each.rank: each.state for each in rig.compute.describe(rig.place(job))}


def test_the_provider_has_the_name_that_it_is_registered_by(rig: ComputeRig) -> None:
    assert rig.compute.name == rig.provider


def test_a_plain_job_is_not_refused(rig: ComputeRig) -> None:
    assert rig.compute.refusals(rig.spec().spec) == []


def test_a_refusal_names_an_option_and_says_why(rig: ComputeRig) -> None:
    asked = "run: x\nlauncher: mpirun\ndata: [{source: ., target: /data}]\n"
    for problem in rig.compute.refusals(rig.spec(asked).spec):
        assert problem.key.split(".")[0] in {"launcher", "data"}
        assert problem.message
        assert problem.hint


def test_an_offer_satisfies_what_was_asked_for(rig: ComputeRig) -> None:
    offers = rig.compute.offers(rig.spec("run: x\nresources: {cpus: 1+, memory: 1MB+}\n").spec)
    assert offers
    assert all(each.provider == rig.provider for each in offers)
    assert all(each.vcpus >= 1 and each.price_usd_per_hour >= 0 for each in offers)


def test_what_nobody_has_is_no_capacity_and_no_mistake_of_the_file(rig: ComputeRig) -> None:
    spec = rig.spec("run: x\nresources: {accelerator: 'NOSUCH:1000'}\n").spec
    with pytest.raises((NoCapacity, QuotaExceeded)) as raised:
        rig.compute.offers(spec)
    assert raised.value.fix


def test_requests_are_plain_data_and_the_same_each_time(rig: ComputeRig) -> None:
    spec = rig.spec().spec
    (offer, *_) = rig.compute.offers(spec)
    first, second = (rig.compute.requests("contract-1", spec, offer) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps([asdict(each) for each in first]))
    assert all(each.api and each.operation for each in first)


def test_nothing_is_known_of_a_job_that_was_never_launched(rig: ComputeRig) -> None:
    assert all(state not in UP for state in states(rig, rig.staged()).values())


def test_every_node_of_a_launched_job_has_a_machine(rig: ComputeRig, launched: Job) -> None:
    assert set(states(rig, launched)) == {0, 1}
    assert set(states(rig, launched).values()) <= UP


def test_launching_twice_makes_machines_once(rig: ComputeRig, launched: Job) -> None:
    """The submitter may die between the request and its answer, and try again."""
    before = {each.id for each in rig.compute.describe(rig.place(launched))}
    rig.launch(launched)
    assert {each.id for each in rig.compute.describe(rig.place(launched))} == before
    assert set(states(rig, launched).values()) <= UP


def test_a_deleted_job_has_no_machine(rig: ComputeRig, launched: Job) -> None:
    rig.delete(launched)
    eventually(lambda: not UP & set(states(rig, launched).values()), "no machine is up")


def test_deleting_what_is_absent_succeeds(rig: ComputeRig, launched: Job) -> None:
    rig.delete(replace(launched, id="contract-never"))
    rig.delete(launched)
    rig.delete(launched)


def test_a_live_job_leaves_nothing_over(rig: ComputeRig, launched: Job) -> None:
    found = rig.compute.leftovers(frozenset({launched.id}), frozenset({rig.store.url}))
    assert [each for each in found if each.job == launched.id] == []


def test_what_a_job_that_is_not_live_has_is_left_over_until_it_is_removed(
    rig: ComputeRig, launched: Job
) -> None:
    looked_at = frozenset({rig.store.url})
    found = [e for e in rig.compute.leftovers(frozenset(), looked_at) if e.job == launched.id]
    assert found
    for leftover in found:
        eventually(functools.partial(rig.compute.remove, leftover), f"{leftover} is gone")
    again = rig.compute.leftovers(frozenset(), looked_at)
    assert [each for each in again if each.job == launched.id] == []
    assert not UP & set(states(rig, launched).values())


def test_a_job_of_a_store_that_was_not_looked_at_is_left_alone(
    rig: ComputeRig, launched: Job
) -> None:
    """It may be alive for all we know: its store may just not be mounted."""
    found = rig.compute.leftovers(frozenset(), frozenset({"file:///elsewhere"}))
    assert [each for each in found if each.job == launched.id] == []


def test_what_doctor_finds_wrong_comes_with_a_fix(rig: ComputeRig) -> None:
    findings = rig.compute.check()
    assert findings
    assert all(each.subject and each.detail for each in findings)
    assert all(each.fix for each in findings if each.ok is False)
