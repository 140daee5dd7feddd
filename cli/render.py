"""Jobs as documents, texts and tables; without rich, which takes longer to load than to print."""

from __future__ import annotations

import math
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any, TextIO

from llmcloud.cli import output
from llmcloud.core import job as jobs
from llmcloud.core.provider import MachineState
from llmcloud.runtime import status as statuses
from llmcloud.runtime.status import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.cli.session import OpenJob
    from llmcloud.core.job import View
    from llmcloud.core.provider import Machine, Offer
    from llmcloud.runtime.status import Status

# What a state looks like: a sign that is also told without colour, and a colour.
LOOKS = {
    State.SUBMITTED: ("○", "yellow"),
    State.STAGING: ("○", "yellow"),
    State.PROVISIONING: ("◐", "yellow"),
    State.RUNNING: ("●", "cyan"),
    State.PREEMPTED: ("◐", "magenta"),
    State.SUCCEEDED: ("✔", "green"),
    State.FAILED: ("✘", "red"),
    State.CANCELLED: ("■", "yellow"),
    State.LOST: ("✘", "magenta"),
}
CODES = {"red": 31, "green": 32, "yellow": 33, "magenta": 35, "cyan": 36}
CENT = 0.01
GAP = 2  # between columns
FOLDED_MIN = 20  # columns that a text is folded to; in less than that it is easier to read as it is
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def status_document(view: View, opened: OpenJob) -> dict[str, Any]:
    """Return a job as `status --json` prints it."""
    from llmcloud.core import metrics

    roles = jobs.read(opened.store, opened.id).task.roles
    return view_document(view, roles, metrics.latest(opened.store, opened.id))


def view_document(
    view: View, roles: Sequence[str], latest: dict[str, float | str]
) -> dict[str, Any]:
    """Return a job whose roles and latest metrics are known already."""
    seen = view.status
    machines = {machine.rank: machine for machine in view.machines}
    nodes = []
    for rank, role in enumerate(roles):
        machine = machines.get(rank)
        state = node_state(view, rank)
        nodes.append(
            {"rank": rank, "role": role, "state": state, "id": machine.id if machine else None}
        )
    return {
        "job": seen.job,
        "name": seen.name,
        "provider": seen.provider,
        "service": seen.service,
        "region": seen.region,
        "state": seen.state.value,
        "attempt": seen.attempt,
        "nodes": nodes,
        "created_at": seen.created_at,
        "started_at": seen.started_at,
        "ended_at": seen.ended_at,
        "exit_code": seen.exit_code,
        "metrics": latest,
        "cost_estimate_usd": jobs.cost_usd(view),
        "error": seen.error,
    }


def node_state(view: View, rank: int) -> str:
    """Return what a node says that it does, or else what its provider says of its machine."""
    beat = view.beats.get(rank)
    if beat:
        return beat.phase.value
    machine = next((each for each in view.machines if each.rank == rank), None)
    return machine_state(machine) if machine else "unknown"


def machine_state(machine: Machine) -> str:
    """Return what a machine is of which no node has said anything yet: one that runs boots."""
    return (MachineState.STARTING if machine.state is MachineState.RUNNING else machine.state).value


def node_counts(view: View, nodes: int) -> str:
    """Return how many nodes do what: 6 running, 2 saving; of one node what it does."""
    states = [node_state(view, rank) for rank in range(nodes)]
    if nodes == 1:
        return states[0]
    return ", ".join(f"{states.count(each)} {each}" for each in dict.fromkeys(states))


def summary_document(seen: Status) -> dict[str, Any]:
    """Return a job as `list --json` prints it."""
    return {**vars(seen), "state": seen.state.value, "ran_s": jobs.ran_s(seen)}


def table(rows: Sequence[Sequence[str]], heads: Sequence[str], less: Sequence[str] = ()) -> str:
    """Return rows in columns as wide as they need, without those that nothing stands in.

    Where a terminal is too narrow, the columns of `less` are left out one after another, and then
    the text of the last column is folded.
    """
    columns = [column for column in zip(heads, *rows, strict=True) if any(column[1:])]
    room = output.columns() or sys.maxsize
    for head in less:
        if _width(columns) > room:
            columns = [column for column in columns if column[0] != head]
    widths = [max(map(_shown, column)) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        cells = zip(row[:-1], widths, strict=False)
        line = "".join(cell + " " * (width - _shown(cell) + GAP) for cell, width in cells)
        lines.append((line + fold(row[-1], sum(widths[:-1]) + GAP * len(row[:-1]))).rstrip())
    return "\n".join(lines)


def fold(text: str, indent: int) -> str:
    """Return text that begins at a column in lines between words that fit the terminal, if any."""
    room = (output.columns() or sys.maxsize) - indent
    if _shown(text) <= room or room < FOLDED_MIN or _hidden(text):
        return text
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines)


def look(state: State, stage: str, stream: TextIO) -> str:
    """Return a stage as people read it: with its state's sign, in its colour if there is any."""
    sign, color = LOOKS[state]
    return output.paint(f"{sign} {stage}", f"\x1b[{CODES[color]}m", stream)


def one_line(text: str) -> str:
    """Return a text without line breaks and what else could upset a terminal."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def number(value: float) -> str:
    """Return a number in few characters: 1.633, 0.0022, 65.9k, 2.3e-05."""
    if abs(value) < 10_000 or not math.isfinite(value):
        return f"{value:.4g}"
    for size_, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size_ <= abs(value) < size_ * 1000:
            return f"{value / size_:.3g}{letter}"
    return f"{value:.3g}"


def duration(seen: Status, now_s: float) -> str:
    """Return how long a job has run, or how long ago it was submitted while it has not."""
    end_s = statuses.epoch_s(seen.ended_at) if seen.ended_at else now_s
    ran_s = jobs.ran_s(seen, now_s)
    return age(seen.created_at, end_s) if ran_s is None else span(ran_s)


def age(time_text: str | None, now_s: float | None = None) -> str:
    """Return how long ago a time was, in the one or two units that matter."""
    if time_text is None:
        return "-"
    return span((now_s or time.time()) - statuses.epoch_s(time_text))


def span(seconds: float) -> str:
    """Return a time span as people say it: 12s, 3m 20s, 2h 5m, 4d 3h."""
    whole = max(0, int(seconds))
    for unit_s, name, part_s, part in (
        (DAY_S, "d", HOUR_S, "h"),
        (HOUR_S, "h", MINUTE_S, "m"),
        (MINUTE_S, "m", 1, "s"),
    ):
        if whole >= unit_s:
            return f"{whole // unit_s}{name} {whole % unit_s // part_s}{part}"
    return f"{whole}s"


def size(size_bytes: float) -> str:
    """Return a number of bytes with the unit that suits it (powers of 1000)."""
    for unit in ("B", "KB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    raise AssertionError


def memory(size_bytes: int) -> str:
    """Return how much memory a machine has, in the powers of 1024 that it is sold by."""
    return f"{size_bytes / 2**30:.4g} GiB"


def an_hour(offer: Offer, nodes: int, digits: int = 2) -> str:
    """Say a price; of spot machines whose price is not known, it is the most that they take."""
    price = offer.price_usd_per_hour
    is_known = not offer.spot or price < (offer.most_usd_per_hour or 0.0)
    return f"{'' if is_known else 'up to '}${price * nodes:.{digits}f} an hour"


def usd(amount: float) -> str:
    """Return what something has cost, in cents; what is not nothing is not told as that."""
    return "<$0.01" if 0 < amount < CENT / 2 else f"${amount:.2f}"


def objects(count: int) -> str:
    """Return how many objects there are, in words."""
    return "1 object" if count == 1 else f"{count:,} objects"


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(_shown, column)) for column in columns) + GAP * (len(columns) - 1)


def _shown(cell: str) -> int:
    return len(cell) - _hidden(cell)


def _hidden(cell: str) -> int:
    """Return how many characters of a painted text take no room."""
    return len(output.RESET) + cell.index("m") + 1 if cell.startswith("\x1b[") else 0
