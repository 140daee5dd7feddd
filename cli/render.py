"""Jobs as documents and tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmcloud.core import job as jobs
from llmcloud.core import metrics
from llmcloud.runtime import status as statuses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.cli.session import OpenJob
    from llmcloud.core.job import View
    from llmcloud.runtime.status import Status

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def status_document(view: View, opened: OpenJob) -> dict[str, Any]:
    """Return a job as `status --json` prints it."""
    seen = view.status
    task = jobs.read(opened.store, opened.id).task
    machines = {machine.rank: machine for machine in view.machines}
    nodes = []
    for rank, role in enumerate(task.roles):
        beat, machine = view.beats.get(rank), machines.get(rank)
        state = beat.phase.value if beat else machine.state.value if machine else "unknown"
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
        "metrics": metrics.latest(opened.store, opened.id),
        "cost_estimate_usd": jobs.cost_usd(view),
        "error": seen.error,
    }


def summary_document(seen: Status) -> dict[str, Any]:
    """Return a job as `list --json` prints it."""
    return {**vars(seen), "state": seen.state.value}


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """Return rows in columns as wide as they need; for terminals and pipes alike."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, *rows):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


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
