"""Jobs in a few words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rig import snapshots

from llmcloud.cli import output, render, summary
from llmcloud.cli.watch import plain_line
from llmcloud.core.provider import Machine, MachineState, Offer
from llmcloud.runtime.heartbeat import Heartbeat, Phase
from llmcloud.runtime.status import State
from llmcloud.runtime.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

AT_S = snapshots.running().at_s
LATEST: dict[str, str | int | float] = {
    "ts": snapshots.AT,
    "step": 6000,
    "total": 10_000,
    "loss": 3.0412,
    "tok_s": 412_345.0,
    "grad_norm": "NaN",
}


def text(seen: snapshots.Snapshot, latest: Mapping[str, str | int | float] = LATEST) -> str:
    now = seen.view.status
    task = Task(now.job, now.name, "python train.py", roles=seen.roles, outputs=("results/",))
    return summary.job_text(seen.view, task, latest, AT_S)


def test_a_running_job_tells_how_it_goes_and_how_to_look_closer() -> None:
    assert text(snapshots.running()).splitlines() == [
        "● running  gpt2-k3m9pa",
        "where   aws, vm, us-east-1, 2 nodes",
        "when    submitted 2h 25m ago, has run for 2h 15m, attempt 2",
        "step    6000 of 10000 (60%)",
        "latest  loss 3.041  tok/s 412k  grad_norm NaN",
        "nodes   0:worker running  1:worker running",
        "cost    $221.22 so far",
        "next    llmcloud watch gpt2-k3m9pa",
        "        llmcloud cancel gpt2-k3m9pa",
    ]


def test_a_failed_job_tells_why_and_what_to_do() -> None:
    lines = text(snapshots.failed()).splitlines()
    assert lines[0] == "✘ failed  gpt2-k3m9pa"
    assert "exit    3" in lines
    assert "error   Node 1 failed: its command exited with 3. It was: python train.py" in lines
    assert lines[-2:] == [
        "next    llmcloud logs gpt2-k3m9pa --tail 50",
        "        llmcloud resume gpt2-k3m9pa",
    ]


def test_what_ended_an_attempt_is_no_error_of_a_job_that_goes_on() -> None:
    seen = snapshots.running()
    now = replace(seen.view.status, error="node 0 was preempted")
    lines = text(replace(seen, view=replace(seen.view, status=now))).splitlines()
    assert "before  attempt 1 ended: node 0 was preempted" in lines
    assert not [line for line in lines if line.startswith("error")]


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (State.STAGING, ["watch", "cancel"]),
        (State.PREEMPTED, ["watch", "cancel"]),
        (State.SUCCEEDED, ["pull", "checkpoints"]),
        (State.CANCELLED, ["resume"]),
        (State.LOST, ["logs", "resume"]),
    ],
)
def test_each_state_has_what_to_type_next(state: State, wanted: list[str]) -> None:
    before = snapshots.failed()
    view = replace(before.view, status=replace(before.view.status, state=state))
    commands = text(replace(before, view=view)).split("next")[1].split("llmcloud ")[1:]
    assert [command.split()[0] for command in commands] == wanted


def test_a_job_that_has_not_begun_says_little() -> None:
    assert text(snapshots.submitted(), {}).splitlines()[1:-2] == [
        "where   aws, vm, us-east-1, 2 nodes",
        "when    submitted 30s ago",
        "nodes   0:worker unknown  1:worker unknown",
    ]


def test_a_job_on_machines_of_a_cloud_tells_which() -> None:
    seen = snapshots.submitted()
    offer = Offer("aws", "vm", "us-east-1", "p5.48xlarge", 192, 2 << 40, 55.0, spot=True)
    now = replace(seen.view.status, zone="us-east-1b")
    there = replace(seen, view=replace(seen.view, offer=offer, status=now))
    assert "where   aws, vm, us-east-1b, 2 x p5.48xlarge (spot)" in text(there, {}).splitlines()


@pytest.mark.parametrize(
    ("phases", "shown"),
    [
        ([], "◐ provisioning"),
        ([Phase.SETUP], "◐ provisioning"),  # the other node is not there yet
        ([Phase.SETUP, Phase.FETCHING], "◐ fetching"),
        ([Phase.READY, Phase.SETUP], "◐ setup"),
    ],
)
def test_a_job_whose_nodes_are_all_there_tells_what_the_slowest_does(
    phases: list[Phase], shown: str
) -> None:
    """Booting is over long before a training begins."""
    seen = snapshots.starting(*phases)
    assert text(seen, {}).splitlines()[0] == f"{shown}  gpt2-k3m9pa"
    assert shown in summary.list_row(seen.view.status, seen.stage, {}, AT_S)
    assert plain_line(seen).split("  ")[0] == shown.split()[1]


def test_a_machine_that_runs_is_no_node_that_trains() -> None:
    """EC2 calls a machine running while it boots."""
    seen = snapshots.starting()
    machines = [Machine(rank, f"i-{rank}", MachineState.RUNNING) for rank in range(2)]
    there = replace(seen, view=replace(seen.view, machines=machines))
    assert "nodes   0:worker starting  1:worker starting" in text(there, {}).splitlines()


def test_many_nodes_are_counted() -> None:
    seen = snapshots.running(nodes=256)
    beats = dict(seen.view.beats)
    beats[9] = Heartbeat(9, "worker", "x", snapshots.AT, Phase.SAVING)
    assert "nodes   255 running, 1 saving" in text(
        replace(seen, view=replace(seen.view, beats=beats))
    )


def test_columns_stand_straight_with_colour() -> None:
    """Colour takes no room."""
    plain = render.table([["a", "running", "1"], ["b", "x", "2"]], ["J", "STATE", "N"])
    painted = render.table(
        [["a", "\x1b[36mrunning\x1b[0m", "1"], ["b", "\x1b[31mx\x1b[0m", "2"]], ["J", "STATE", "N"]
    )
    assert painted.replace("\x1b[36m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") == plain


def test_a_table_folds_its_last_column_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [["tiny", "a model that is as small as a model can be"], ["gpt2", "another"]]
    wide = render.table(rows, ["NAME", "WHAT"]).splitlines()
    assert wide[1] == "tiny  a model that is as small as a model can be"
    monkeypatch.setattr(output, "columns", lambda: 30)
    assert render.table(rows, ["NAME", "WHAT"]).splitlines() == [
        "NAME  WHAT",
        "tiny  a model that is as small",
        "      as a model can be",
        "gpt2  another",
    ]


def test_a_table_leaves_out_what_is_missed_least_until_it_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = ["x" * 47, "\x1b[36m● running\x1b[0m", "aws", "7/9", "2.5", "2h 25m", "2h 15m", "0"]
    monkeypatch.setattr(output, "columns", lambda: 80)
    heads = render.table([row], summary.HEADS, summary.LESS).splitlines()[0].split()
    assert heads == ["JOB", "STATE", "STEP", "AGE"]


def test_what_a_job_says_is_folded_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands are not: they are to be copied."""
    monkeypatch.setattr(output, "columns", lambda: 40)
    lines = text(snapshots.failed()).splitlines()
    at = lines.index("error   Node 1 failed: its command")
    assert lines[at + 1] == "        exited with 3. It was: python"
    assert "next    llmcloud logs gpt2-k3m9pa --tail 50" in lines


def test_a_row_of_the_list_has_a_cell_under_each_head() -> None:
    row = summary.list_row(snapshots.running().view.status, "running", LATEST, AT_S)
    assert dict(zip(summary.HEADS, row, strict=True)) == {
        "JOB": "gpt2-k3m9pa",
        "STATE": "● running",
        "PROVIDER": "aws",
        "STEP": "6000/10000",
        "LOSS": "3.041",
        "AGE": "2h 25m",
        "DURATION": "2h 15m",
        "EXIT": "",
    }


def test_columns_of_a_list_that_nothing_stands_in_are_left_out() -> None:
    row = summary.list_row(snapshots.running().view.status, "running", {}, AT_S)
    other = summary.list_row(snapshots.running().view.status, "running", {"loss": 2.5}, AT_S)
    assert render.table([row], summary.HEADS).splitlines()[0].split() == [
        "JOB",
        "STATE",
        "PROVIDER",
        "AGE",
        "DURATION",
    ]
    assert "LOSS" in render.table([row, other], summary.HEADS)


def test_the_pause_before_a_resume_is_not_told_as_time_that_a_job_ran() -> None:
    before = snapshots.failed()
    resumed = replace(
        before.view.status,
        state=State.PROVISIONING,
        ran_s=90.0,
        started_at=None,
        ended_at=None,
    )
    said = text(replace(before, view=replace(before.view, status=resumed))).splitlines()
    assert "when    submitted 2h 25m ago, has run for 1m 30s, attempt 2" in said
    assert "cost    $2.46 so far" in said
    assert summary.list_row(resumed, "setup", {}, AT_S)[summary.HEADS.index("DURATION")] == "1m 30s"
    assert render.duration(resumed, AT_S) == "1m 30s"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.63324, "1.633"),
        (2.3e-05, "2.3e-05"),
        (65_897.0, "65.9k"),
        (1.2e6, "1.2M"),
        (-20_000.0, "-20k"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1e15, "1e+15"),
    ],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert render.number(value) == shown


@pytest.mark.parametrize(
    ("price", "state", "said"),
    [
        (98.32, State.RUNNING, "cost    $221.22 so far"),
        (98.32, State.SUCCEEDED, "cost    $221.22"),
        (0.001, State.RUNNING, "cost    less than a cent so far"),
    ],
)
def test_a_cost_is_so_far_while_more_may_come(price: float, state: State, said: str) -> None:
    seen = snapshots.running()
    now = replace(seen.view.status, state=state)
    there = replace(seen, view=replace(seen.view, status=now, price_usd_per_hour=price))
    assert said in text(there).splitlines()


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0.0, "$0.00"), (0.0049, "<$0.01"), (0.006, "$0.01"), (221.218, "$221.22")],
)
def test_what_costs_less_than_a_cent_is_not_called_free(amount: float, said: str) -> None:
    assert render.usd(amount) == said
