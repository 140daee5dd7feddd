"""How a job that does not go well ends: its exit code, its words, and nothing left running."""

from __future__ import annotations

import re
import signal
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

# Ignores SIGTERM, and has children that left its session and its environment.
STUBBORN = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ignore = "trap '' TERM; sleep 1000 & wait"
    subprocess.Popen(["setsid", "bash", "-c", ignore])
    subprocess.Popen(["env", "-i", "setsid", "bash", "-c", ignore + "; echo " + sys.argv[1]])
    print("settled", flush=True)
    time.sleep(1000)
"""
SAVES = """
    import json, os, signal, sys, time
    def save(*_):
        time.sleep(0.5)
        with open(os.environ["LLMCLOUD_CHECKPOINT_DIR"] + "/step-7.json", "w") as file:
            json.dump({"step": 7}, file)
        print("saved", flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    print("training", flush=True)
    time.sleep(1000)
"""


def test_a_run_that_exits_3_fails_the_job_and_its_commands(bench: Bench) -> None:
    done = bench.cli("submit", bench.job("three", "echo doing it\nexit 3"))
    assert done.code == 7
    assert "doing it" in done.out
    assert "exit code 3" in done.err
    assert "fix:" in done.err
    found = bench.status("three")
    assert (found["state"], found["exit_code"]) == ("failed", 3)
    assert found["error"] == "The run ended with exit code 3 on node 0."
    assert bench.cli("wait", "three").code == 7


def test_a_run_that_a_signal_ends_names_it(bench: Bench) -> None:
    job = bench.submit(bench.job("segv", "kill -SEGV $$"))
    found = bench.await_state(job, "failed")
    assert found["exit_code"] == 128 + signal.SIGSEGV
    assert "SIGSEGV" in found["error"]


def test_a_setup_that_fails_fails_the_job_and_its_log_is_shown(bench: Bench) -> None:
    path = bench.job(
        "setup", "echo never", "setup: |\n  echo preparing\n  echo no such package >&2\n  exit 4\n"
    )
    done = bench.cli("submit", path)
    assert done.code == 7
    assert "preparing" in done.out
    assert "no such package" in done.out
    assert "never" not in done.out.splitlines()
    found = bench.status("setup")
    assert (found["exit_code"], found["error"]) == (4, "setup failed with exit code 4.")
    assert bench.environments() == []


def test_an_unknown_job_is_9_and_the_nearest_is_named(bench: Bench) -> None:
    bench.submit(bench.job("known", "echo hello"))
    done = bench.cli("status", "knwon")
    assert done.code == 9
    assert "known" in done.err
    for command in ("wait", "cancel", "logs", "resume"):
        assert bench.cli(command, "nothing-like-it").code == 9
    bench.cli("wait", "known")


def test_an_ambiguous_prefix_is_2_and_names_both(bench: Bench) -> None:
    jobs = [bench.submit(bench.job(name, "true")) for name in ("train-a", "train-b")]
    done = bench.cli("status", "train")
    assert done.code == 2
    assert all(job in done.err for job in jobs)
    assert bench.cli("wait", "train-a").code == 0
    assert bench.cli("wait", "train-b").code == 0


def test_refusals_have_their_exit_codes_and_leave_no_job(bench: Bench) -> None:
    """Each says what is wrong and how to fix it."""
    cases = [
        (3, "rnu: true\n", "Did you mean run", {}),
        (5, "resources: {accelerator: A100:1}\n", "no GPU", {}),
        (5, "resources: {cpus: 4096+}\n", "CPUs", {}),
        (4, "secrets: [NOT_THERE]\n", "NOT_THERE", {}),
        (2, "provider: gcp\n", "not in this version", {}),
        (3, "launcher: mpirun\n", "launcher", {}),
        (3, "data: [{source: ./nowhere, target: data}]\n", "nowhere", {}),
        (3, "code: ./nowhere\n", "nowhere", {}),
    ]
    for number, (code, more, said, env) in enumerate(cases):
        done = bench.cli("submit", bench.job(f"no-{number}", "true", more), env=env)
        assert (done.code, said in done.err) == (code, True), done.err
        assert "Traceback" not in done.err
    assert bench.cli("list", "--json").document == []


def test_a_run_past_max_duration_is_ended_with_all_that_it_started(bench: Bench) -> None:
    """The processes ignore SIGTERM, left the session, and one has no environment to be known by."""
    mark = f"mark-{uuid.uuid4().hex}"
    more = "limits: {max_duration: 6s, retries: 2}\n"
    path = bench.job("hang", f"python stubborn.py {mark}", more, stubborn__py=STUBBORN)
    done = bench.cli("submit", path)
    assert done.code == 7
    found = bench.status("hang")
    assert (found["state"], found["attempt"]) == ("failed", 1)
    assert "limits.max_duration" in found["error"]
    assert not _running(mark)


def test_cancel_ends_a_run_that_saves_what_it_has(bench: Bench) -> None:
    """The run is a script of several lines, whose shell dies of the SIGTERM at once."""
    job = bench.submit(bench.job("saves", "echo go\npython saves.py\necho after", saves__py=SAVES))
    bench.await_log(job, "training")
    done = bench.cli("cancel", job)
    assert done.code == 0, done.err
    assert not bench.processes()
    assert bench.state(job)["state"] == "cancelled"
    assert bench.store.exists(f"jobs/{job}/checkpoints/0000000007/COMPLETE")
    assert "saved" in bench.log(job)
    assert "after" not in bench.log(job).splitlines()
    assert bench.cli("wait", job).code == 8
    assert bench.cli("cancel", job).code == 0


def test_a_cancel_says_what_it_waits_for_and_how_to_go_on(bench: Bench) -> None:
    """It lasts as long as saving does."""
    job = bench.submit(bench.job("slow", "echo training; trap '' TERM; while :; do sleep 1; done"))
    bench.await_log(job, "training")
    child = bench.start("cancel", job)
    assert b"is told to stop; waiting until its nodes have saved" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    done = bench.end(child)
    assert (done.code, done.err.split("\n")[1]) == (
        130,
        f"The same cancel goes on; what is left of {job}: llmcloud gc",
    )


def test_a_follower_of_a_cancelled_job_exits_8(bench: Bench) -> None:
    path = bench.job("watched", "echo training; sleep 1000")
    child = bench.start("submit", path)
    (job,) = eventually(lambda: bench.store.is_there() and bench.store.folders("jobs/"), "a job")
    bench.await_log(job, "training")
    assert bench.cli("cancel", "watched").code == 0
    assert bench.end(child).code == 8


def test_cancel_ends_a_setup(bench: Bench) -> None:
    job = bench.submit(bench.job("insetup", "true", "setup: echo installing; sleep 1000\n"))
    bench.await_log(job, "installing", times=2)
    assert bench.cli("cancel", job).code == 0
    assert bench.state(job)["state"] == "cancelled"
    assert bench.environments() == []


def test_cancel_ends_a_wait_for_peers(bench: Bench) -> None:
    """One node is held up by its own setup, the others are ready."""
    wait = "test -e $HOME/never || sleep 1000"
    run = "resources: {nodes: 2}\nsetup: " + wait + "\n"
    job = bench.submit(bench.job("meets", "true", run))
    bench.await_log(job, "setup:", times=2)
    assert bench.cli("cancel", job).code == 0
    assert bench.state(job)["state"] == "cancelled"


def test_cancel_that_comes_while_a_run_is_saved_takes_nothing_away(bench: Bench) -> None:
    run = "mkdir -p outputs; for i in $(seq 3000); do echo $i > outputs/$i; done"
    job = bench.submit(bench.job("ending", run))

    outputs = bench.home / "store/jobs" / job / "outputs"
    eventually(outputs.exists, "outputs being saved")
    assert bench.cli("cancel", job).code == 0
    found = bench.state(job)
    assert found["state"] == "succeeded"
    assert len(list(bench.store.objects(f"jobs/{job}/outputs/"))) == 3000


@pytest.mark.parametrize(("retries", "state"), [(2, "succeeded"), (1, "failed")])
def test_a_run_that_fails_twice_needs_two_retries(bench: Bench, retries: int, state: str) -> None:
    run = "echo attempt $LLMCLOUD_ATTEMPT; test $LLMCLOUD_ATTEMPT = 3"
    path = bench.job(f"retry{retries}", run, f"limits: {{retries: {retries}}}\n")
    done = bench.cli("submit", path)
    assert done.code == {"succeeded": 0, "failed": 7}[state]
    (job,) = bench.store.folders("jobs/")
    assert bench.state(job)["attempt"] == retries + 1
    assert re.findall(r"attempt \d", done.out) == [f"attempt {i + 1}" for i in range(retries + 1)]


def _running(mark: str) -> list[int]:
    from pathlib import Path

    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
