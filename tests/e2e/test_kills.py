"""kill -9 of anything, at any moment: the job goes on from its newest checkpoint."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from tests.rig.waits import eventually

from llmcloud.runtime import process

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

# Counts, saves each step by an atomic rename, and goes on from the newest one it finds.
COUNTS = """
    import json, os, sys, time
    from pathlib import Path
    folder, last, pause = Path(os.environ["LLMCLOUD_CHECKPOINT_DIR"]), int(sys.argv[1]), 0.25
    steps = [int(path.stem.split("-")[1]) for path in folder.glob("step-*.json")]
    print("begins after", max(steps, default=0), flush=True)
    for step in range(max(steps, default=0) + 1, last + 1):
        time.sleep(pause)
        new = folder / f".step-{step}.json"
        new.write_text(json.dumps({"step": step, "sum": step * (step + 1) // 2}))
        new.rename(folder / f"step-{step}.json")
        print("step", step, flush=True)
"""
CHECKPOINTS = "checkpoints: {interval: 1s, keep: 3}\n"


def test_the_runtime_is_killed_while_the_training_runs(bench: Bench) -> None:
    """Thrice: early, after a checkpoint, and again; the keeper brings it back each time."""
    path = bench.job("runs", "python counts.py 28", CHECKPOINTS, counts__py=COUNTS)
    job = bench.submit(path)
    for attempt, step in ((1, "step 1"), (2, "is saved"), (3, "is saved")):
        bench.await_log(job, step, attempt=attempt)
        trainings = _others(bench, job)
        process.send(bench.runtimes(job)[0], signal.SIGKILL)
        eventually(
            lambda attempt=attempt: bench.state(job)["attempt"] > attempt, "the next attempt"
        )
        assert not trainings & bench.processes(job).keys()
    found = bench.await_state(job, "succeeded", "failed", "lost")
    assert (found["state"], found["attempt"], found["failures"]) == ("succeeded", 4, 0)
    _check_that_it_went_on(bench, job, 28)


def test_the_runtime_is_killed_during_setup(bench: Bench) -> None:
    """No half environment is used, and nothing of the first setup runs on."""
    script = "echo preparing; test -e $PWD/../again || (touch $PWD/../again; sleep 1000)"
    job = bench.submit(bench.job("setup", "echo trained", f"setup: {script}\n"))
    bench.await_log(job, "preparing", times=2)  # the script itself is shown, too
    process.send(bench.runtimes(job)[0], signal.SIGKILL)
    found = bench.await_state(job, "succeeded", "failed", "lost")
    assert found["state"] == "succeeded", found
    assert len(bench.environments()) == 1
    assert bench.log(job).count("preparing") == 4


def test_the_runtime_is_killed_while_it_ships_the_last_checkpoint(bench: Bench) -> None:
    run = """
        test $LLMCLOUD_ATTEMPT = 1 || ls checkpoints
        test $LLMCLOUD_ATTEMPT = 2 || for i in $(seq 2000); do echo $i > checkpoints/step-9.$i; done
        mkdir -p checkpoints/step-9
        for i in $(seq 1500); do echo $i > checkpoints/step-9/$i.bin; done
    """
    job = bench.submit(bench.job("ships", run))
    shipped = bench.home / "store/jobs" / job / "checkpoints/0000000009"
    eventually(shipped.exists, "a checkpoint on its way")
    process.send(bench.runtimes(job)[0], signal.SIGKILL)
    found = bench.await_state(job, "succeeded", "failed", "lost")
    assert found["state"] == "succeeded", bench.log(job)
    assert (shipped / "COMPLETE").exists()


def test_the_training_alone_is_killed(bench: Bench) -> None:
    """It costs a retry, and goes on from its newest checkpoint."""
    more = CHECKPOINTS + "limits: {retries: 1}\n"
    job = bench.submit(bench.job("alone", "exec python counts.py 14", more, counts__py=COUNTS))
    bench.await_log(job, "is saved")
    (training,) = _others(bench, job)
    process.send(training, signal.SIGKILL)
    found = bench.await_state(job, "succeeded", "failed", "lost")
    assert (found["state"], found["attempt"], found["failures"]) == ("succeeded", 2, 1)
    assert "SIGKILL" in bench.log(job, attempt=1)
    _check_that_it_went_on(bench, job, 14)


def test_the_keeper_is_killed(bench: Bench) -> None:
    """The nodes save and end by themselves: nobody could bring them back. Then `resume`."""
    job = bench.submit(bench.job("kept", "python counts.py 24", CHECKPOINTS, counts__py=COUNTS))
    bench.await_log(job, "is saved")
    process.send(bench.keeper(job), signal.SIGKILL)
    bench.await_nothing_running(job)
    assert bench.status(job)["state"] == "lost"
    assert bench.cli("wait", job).code == 7
    done = bench.cli("resume", job)
    assert done.code == 0, done.err
    _check_that_it_went_on(bench, job, 24)


@pytest.mark.parametrize("is_resumed_by", ["resume", "gc"])
def test_everything_but_the_training_is_killed(bench: Bench, is_resumed_by: str) -> None:
    """`gc` finds the orphans by their tag, and `resume` ends them, before it goes on."""
    run = "sleep 1000 &\npython counts.py 24"  # what prints ends by itself, when nobody listens
    path = bench.job("orphan", run, CHECKPOINTS, counts__py=COUNTS)
    job = bench.submit(path)
    bench.await_log(job, "is saved")
    orphans = _others(bench, job)
    for pid in (bench.keeper(job), *bench.runtimes(job).values()):
        process.send(pid, signal.SIGSTOP)  # so that none sees the other go
    for pid in (bench.keeper(job), *bench.runtimes(job).values()):
        process.send(pid, signal.SIGKILL)
    assert orphans
    assert orphans <= bench.processes(job).keys()
    if is_resumed_by == "gc":
        for dry in (["--dry-run"], ["--yes"]):
            done = bench.cli("gc", "--json", *dry)
            assert done.code == 0, done.err
            assert ("processes", job) in [(each["kind"], each["job"]) for each in done.document]
            assert bool(bench.processes(job)) == (dry == ["--dry-run"])
    done = bench.cli("resume", job)
    assert done.code == 0, done.err
    assert not orphans & bench.processes(job).keys()
    _check_that_it_went_on(bench, job, 24)


def test_a_node_that_is_asked_to_go_saves_and_comes_back(bench: Bench) -> None:
    """SIGTERM to a runtime is a machine that is about to vanish."""
    job = bench.submit(bench.job("asked", "python counts.py 16", CHECKPOINTS, counts__py=COUNTS))
    bench.await_log(job, "step 3")
    process.send(bench.runtimes(job)[0], signal.SIGTERM)
    found = bench.await_state(job, "succeeded", "failed", "lost")
    assert (found["state"], found["attempt"], found["failures"]) == ("succeeded", 2, 0)
    _check_that_it_went_on(bench, job, 16)


def test_a_resume_of_a_job_that_is_at_work_is_2(bench: Bench) -> None:
    job = bench.submit(bench.job("busy", "true", "setup: echo preparing; sleep 1000\n"))
    bench.await_log(job, "preparing", times=2)
    before = bench.processes(job)
    done = bench.cli("resume", job)
    assert done.code == 2
    assert job in done.err
    assert before.keys() <= bench.processes(job).keys()
    assert bench.cli("cancel", job).code == 0


def _others(bench: Bench, job: str) -> set[int]:
    """Return the job's processes that are none of ours: the training."""
    ours = {bench.keeper(job), *bench.runtimes(job).values()}
    return bench.processes(job).keys() - ours


def _check_that_it_went_on(bench: Bench, job: str, last: int) -> None:
    """Each attempt began after a checkpoint of the one before, and left out no step.

    What was printed when nobody was there to ship it may be missing from the log.
    """
    found = bench.state(job)
    assert found["state"] == "succeeded"
    before, saved = 0, 0
    for attempt in range(1, found["attempt"] + 1):
        log = bench.log(job, attempt=attempt)
        begins = int(_only(re.findall(r"begins after (\d+)", log)))
        assert begins >= saved
        assert begins > 0 or attempt == 1
        steps = [int(step) for step in re.findall(r"^step (\d+)", log, re.MULTILINE)]
        assert steps == list(range(begins + 1, begins + 1 + len(steps)))
        before = max(steps, default=begins)
        saved = max((int(s) for s in re.findall(r"Checkpoint (\d+) is saved", log)), default=0)
    assert before == last
    assert bench.store.exists(f"jobs/{job}/checkpoints/{last:010d}/COMPLETE")
    kept = [each for each in bench.store.folders(f"jobs/{job}/checkpoints/") if each.isdigit()]
    assert len(kept) <= 3


def _only(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]
