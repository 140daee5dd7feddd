"""Jobs of several nodes: they meet, know their places, and end together."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from tests.rig.waits import eventually

from llmcloud.runtime import process

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

TWO = "resources: {nodes: 2}\n"
NAMES = ("WORLD_SIZE", "RANK", "NODE_RANK", "LLMCLOUD_NODES", "LLMCLOUD_NODE_RANK", "MASTER_PORT")
ROLES = """
    roles:
      chief: {cpus: 1}
      worker: {count: 1, cpus: 1}
      ps: {count: 1, cpus: 1}
"""


def test_two_nodes_meet_and_know_their_places(bench: Bench) -> None:
    """They reach each other at the address that all are told."""
    talks = """
        import os, socket
        place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        if os.environ["RANK"] == "0":
            with socket.create_server(place) as server:
                print("heard", server.accept()[0].recv(100).decode())
        else:
            while True:
                try:
                    with socket.create_connection(place) as peer:
                        peer.sendall(b"node " + os.environ["RANK"].encode())
                    break
                except ConnectionRefusedError:
                    pass
    """
    show = "echo " + " ".join(f"${name}" for name in NAMES) + " $LLMCLOUD_NODE_IPS"
    done = bench.cli("submit", bench.job("two", f"{show}\npython talks.py", TWO, talks__py=talks))
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "[0] heard node 1" in lines
    port = next(line for line in lines if line.startswith("[0] 2 0 0 2 0 ")).split()[6]
    assert f"[0] 2 0 0 2 0 {port} 127.0.0.1,127.0.0.1" in lines
    assert f"[1] 2 1 1 2 1 {port} 127.0.0.1,127.0.0.1" in lines
    only = bench.cli("logs", "two", "--node", "1").out.splitlines()
    assert only == [f"2 1 1 2 1 {port} 127.0.0.1,127.0.0.1"]
    assert {each["node"] for each in bench.cli("logs", "two", "--json").objects} == {0, 1}
    assert [node["rank"] for node in bench.status("two")["nodes"]] == [0, 1]


def test_roles_are_told_and_the_ps_ends_when_the_others_are_done(bench: Bench) -> None:
    run = """
        echo "$LLMCLOUD_ROLE $TF_CONFIG"
        if [ $LLMCLOUD_ROLE = ps ]; then sleep 1000; fi
    """
    job = bench.submit(bench.job("roles", run, ROLES))
    found = bench.await_state(job, "succeeded", "failed")
    assert found["state"] == "succeeded"
    bench.await_nothing_running(job)
    seen = {}
    for rank in range(3):
        role, _, config = bench.log(job, node=rank).splitlines()[0].partition(" ")
        seen[role] = json.loads(config)
    assert list(seen) == ["chief", "worker", "ps"]
    assert {len(each["cluster"][role]) for each in seen.values() for role in seen} == {1}
    assert [each["task"] for each in seen.values()] == [
        {"type": role, "index": 0} for role in ("chief", "worker", "ps")
    ]


def test_a_ps_that_fails_fails_the_job_once(bench: Bench) -> None:
    """The workers, which would wait for it for ever, are stopped."""
    run = "test $LLMCLOUD_ROLE != ps || exit 5; sleep 1000"
    done = bench.cli("submit", bench.job("badps", run, ROLES))
    assert done.code == 7
    found = bench.status("badps")
    assert (found["state"], found["attempt"], found["exit_code"]) == ("failed", 1, 5)


def test_code_that_fails_on_one_node_fails_the_attempt(bench: Bench) -> None:
    run = "test $RANK = 0 || exit 3; sleep 1000"
    done = bench.cli("submit", bench.job("one", run, TWO))
    assert done.code == 7
    found = bench.status("one")
    assert (found["state"], found["exit_code"]) == ("failed", 3)
    assert "node 1" in found["error"]


def test_a_node_that_is_killed_makes_both_start_over(bench: Bench) -> None:
    run = """
        test -e checkpoints/step-5-$RANK.json && echo resumed && exit 0
        echo '{}' > checkpoints/.new; mv checkpoints/.new checkpoints/step-5-$RANK.json
        echo training; sleep 1000
    """
    job = bench.submit(bench.job("both", run, TWO))
    complete = f"jobs/{job}/checkpoints/0000000005/COMPLETE"
    eventually(lambda: bench.store.exists(complete), "the checkpoint")
    process.send(bench.runtimes(job)[1], signal.SIGKILL)
    found = bench.await_state(job, "succeeded", "failed", "lost")
    assert (found["state"], found["attempt"], found["failures"]) == ("succeeded", 2, 0)
    for rank in (0, 1):
        assert "resumed" in bench.log(job, attempt=2, node=rank)


def test_the_log_says_which_node_was_lost_and_why_the_next_attempt_begins(bench: Bench) -> None:
    """Though only the first node saves, the other's end holds nothing up."""
    run = """
        test -e checkpoints/step-5.json && echo resumed && exit 0
        if [ $RANK = 0 ]; then
            echo '{}' > checkpoints/.new; mv checkpoints/.new checkpoints/step-5.json
        fi
        echo training; sleep 1000
    """
    job = bench.submit(bench.job("told", run, TWO))
    bench.await_log(job, "training", times=2)
    process.send(bench.runtimes(job)[1], signal.SIGKILL)
    bench.await_state(job, "succeeded", "failed", "lost")
    first = bench.log(job, attempt=1, node=0).splitlines()
    assert [line for line in first if "Node 1" in line] == ["Node 1 was lost."]
    second = bench.log(job, attempt=2, node=0).splitlines()
    assert second[:2] == [
        "Attempt 2 begins: node 1 was lost.",
        "Attempt 2 starts from checkpoint 5.",
    ]
    assert "begins" not in bench.log(job, attempt=2, node=1)


def test_a_node_whose_setup_fails_ends_the_wait_of_the_other(bench: Bench) -> None:
    more = TWO + "setup: test $LLMCLOUD_TAG = none || exit 9\n"
    done = bench.cli("submit", bench.job("unready", "true", more))
    assert done.code == 7
    assert bench.status("unready")["exit_code"] == 9
