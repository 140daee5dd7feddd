"""Jobs in a few words, for people: `llmcloud status` and the rows of `llmcloud list`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from llmcloud.cli import output, render
from llmcloud.core import job as jobs
from llmcloud.core.provider import MachineState
from llmcloud.runtime.status import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmcloud.core.job import View
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.task import Task

    Latest = Mapping[str, str | int | float]  # what core.metrics.latest returns

NODES_SHOWN = 16
INDENT = 8
HEADS = ("JOB", "STATE", "PROVIDER", "STEP", "LOSS", "AGE", "DURATION", "EXIT")
LESS = ("PROVIDER", "EXIT", "LOSS", "DURATION")  # of these least is missed where there is no room


def job_text(view: View, task: Task, latest: Latest, now_s: float | None = None) -> str:
    """Return a job as lines: how it is, how its training goes, what to type next."""
    now, at_s = view.status, now_s or time.time()
    rows = {
        "where": _where(view, task.nodes),
        "when": _when(now, at_s),
        "step": _step(latest),
        "latest": render.fold("  ".join(_values(latest)), INDENT),
        "nodes": _nodes(view, task) if task.nodes > 1 or not now.state.is_final else "",
        "waits": render.fold(_coming(view), INDENT),
        "cost": _cost(jobs.cost_usd(view, at_s), is_over=now.state.is_final),
        "exit": "" if now.exit_code is None else str(now.exit_code),
        **_why(now),
        "next": ("\n" + " " * INDENT).join(_next(now, task, latest)),
    }
    name = output.paint(now.job, output.BOLD, sys.stdout)
    stage = jobs.stage(now, view.beats, task.nodes)
    lines = [f"{render.look(now.state, stage, sys.stdout)}  {name}"]
    for key, value in rows.items():
        if value:
            lines.append(output.paint(f"{key:{INDENT}}", output.DIM, sys.stdout) + value)
    return "\n".join(lines)


def _where(view: View, nodes: int) -> str:
    """Say where a job runs, and on how many of what."""
    now, offer = view.status, view.offer
    what = f"{nodes} node" + "s" * (nodes > 1)
    if offer and offer.region:
        what = f"{nodes} x {offer.instance_type}{' (spot)' if offer.spot else ''}"
    place = now.zone or now.region
    return ", ".join(part for part in (now.provider, now.service, place, what) if part)


def _coming(view: View) -> str:
    """Say that machines are to come, and what the provider says of it."""
    coming = [each for each in view.machines if each.state is MachineState.COMING]
    said = next((each.detail for each in coming if each.detail), "")
    noun = "machine" if len(coming) == 1 else "machines"
    return render.one_line(f"for {len(coming)} {noun}. {said}".rstrip()) if coming else ""


def list_row(seen: Status, stage: str, latest: Latest, now_s: float) -> list[str]:
    """Return a job's cells under HEADS."""
    ran_s = jobs.ran_s(seen, now_s)
    return [
        seen.job,
        render.look(seen.state, stage, sys.stdout),
        seen.provider,
        _step(latest, short=True),
        _value(latest["loss"]) if "loss" in latest else "",
        render.age(seen.created_at, now_s),
        "-" if ran_s is None else render.span(ran_s),
        "" if seen.exit_code is None else str(seen.exit_code),
    ]


def _when(now: Status, at_s: float) -> str:
    said = f"submitted {render.age(now.created_at, at_s)} ago"
    if (ran_s := jobs.ran_s(now, at_s)) is not None:
        verb = "ran for" if now.ended_at else "has run for"
        said += f", {verb} {render.span(ran_s)}"
    if now.ended_at:
        said += f", ended {render.age(now.ended_at, at_s)} ago"
    return said + (f", attempt {now.attempt}" if now.attempt > 1 else "")


def _why(now: Status) -> dict[str, str]:
    """Say what ended a job; or, while it goes on, what ended its last attempt."""
    if not now.error:
        return {}
    said = render.one_line(now.error)
    if now.state.is_final:
        return {"error": output.paint(render.fold(said, INDENT), output.RED, sys.stdout)}
    before = f"attempt {now.attempt - 1} ended: {said}" if now.attempt > 1 else said
    return {"before": render.fold(before, INDENT)}


def _step(latest: Latest, *, short: bool = False) -> str:
    step, total = latest.get("step"), latest.get("total")
    if not isinstance(step, int):
        return ""
    if not isinstance(total, int) or total <= 0:
        return str(step)
    return f"{step}/{total}" if short else f"{step} of {total} ({step / total:.0%})"


def _values(latest: Latest) -> Iterator[str]:
    names = {"tok_s": "tok/s"}
    for name, value in latest.items():
        if name not in {"ts", "step", "total"}:
            yield f"{names.get(name, name)} {_value(value)}"


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else render.number(value)


def _nodes(view: View, task: Task) -> str:
    if task.nodes > NODES_SHOWN:
        return render.fold(render.node_counts(view, task.nodes), INDENT)
    states = (render.node_state(view, rank) for rank in range(task.nodes))
    nodes = zip(task.roles, states, strict=True)
    said = "  ".join(f"{rank}:{role} {state}" for rank, (role, state) in enumerate(nodes))
    return render.fold(said, INDENT)


def _cost(cost_usd: float | None, *, is_over: bool) -> str:
    if not cost_usd:
        return ""
    said = f"${cost_usd:.2f}" if cost_usd >= 0.005 else "less than a cent"
    return said if is_over else f"{said} so far"


def _next(now: Status, task: Task, latest: Latest) -> list[str]:
    """Return the commands that make sense now, the likeliest first."""
    match now.state:
        case State.SUCCEEDED:
            pull = [f"llmcloud pull {now.job}"] if task.outputs else []
            saved = [f"llmcloud checkpoints pull {now.job}"] if latest else []
            return [*pull, *saved] or [f"llmcloud logs {now.job}"]
        case State.FAILED | State.LOST:
            return [f"llmcloud logs {now.job} --tail 50", f"llmcloud resume {now.job}"]
        case State.CANCELLED:
            return [f"llmcloud resume {now.job}"]
        case _:
            return [f"llmcloud watch {now.job}", f"llmcloud cancel {now.job}"]
