"""The virtual environment of a job: made once for the same inputs, never used half made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

SETUP = (
    "setup: echo preparing with $TOKEN; cp requirements.txt $VIRTUAL_ENV/made\nsecrets: [TOKEN]\n"
)
RUN = "cat $VIRTUAL_ENV/made; which python"
TOKEN = {"TOKEN": "hidden-from-logs"}


def test_an_environment_is_kept_while_its_inputs_are(bench: Bench) -> None:
    """Another job uses it, too; other requirements make another one."""
    job = {"requirements__txt": "first"}
    made = []
    for name, text in (("one", "first"), ("two", "first"), ("three", "second")):
        job["requirements__txt"] = text
        done = bench.cli("submit", bench.job(name, RUN, SETUP, **job), env=TOKEN)
        assert done.code == 0, done.err
        assert "hidden" not in done.out
        *_, last = done.out.splitlines()
        found, _, python = last.partition("/")
        assert found == text
        made.append((python, "preparing with ***" in done.out.splitlines()))
    (one, first), (two, second), (three, third) = made
    assert (first, second, third) == (True, False, True)
    assert one == two != three
    assert len(bench.environments()) == 2


def test_two_jobs_with_one_setup_at_once_make_it_once(bench: Bench) -> None:
    setup = "setup: echo preparing; sleep 3; touch $VIRTUAL_ENV/made\n"
    jobs = [bench.submit(bench.job(name, "ls $VIRTUAL_ENV/made", setup)) for name in ("a", "b")]
    for job in jobs:
        assert bench.cli("wait", job).code == 0
        assert "/made" in bench.log(job)
    assert sum("preparing" in bench.log(job).splitlines() for job in jobs) == 1
    assert len(bench.environments()) == 1


def test_a_job_that_waits_for_the_setup_of_another_can_be_cancelled(bench: Bench) -> None:
    setup = "setup: echo preparing; sleep 1000\n"
    first = bench.submit(bench.job("first", "true", setup))
    bench.await_log(first, "preparing", times=2)
    second = bench.submit(bench.job("second", "true", setup))
    assert bench.cli("cancel", second).code == 0
    assert bench.state(second)["state"] == "cancelled"
    assert bench.cli("cancel", first).code == 0


def test_a_node_says_that_it_sets_up(bench: Bench) -> None:
    """It may take longer than to boot, and nobody should take it for that."""
    go = bench.root / "go"
    setup = f"setup: echo preparing; until [ -e {go} ]; do sleep 0.05; done\n"
    job = bench.submit(bench.job("slow", "true", setup))
    bench.await_log(job, "preparing", times=2)
    assert [node["state"] for node in bench.status(job)["nodes"]] == ["setup"]
    assert "setup" in bench.cli("list").out
    go.touch()
    assert bench.cli("wait", job).code == 0
