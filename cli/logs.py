"""`llmcloud logs`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from llmcloud.cli import output, stay
from llmcloud.cli.arguments import JobArgument
from llmcloud.cli.lines import printer
from llmcloud.cli.machine_lines import show_machines
from llmcloud.cli.session import JsonOption, OpenJob, StoreOption
from llmcloud.core import job as jobs
from llmcloud.core.errors import UsageError
from llmcloud.core.follow import Ending, follow
from llmcloud.core.logs import LogReader
from llmcloud.runtime import status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmcloud.core.logs import Line


def logs(
    job: JobArgument,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    node: Annotated[
        list[int] | None, typer.Option("--node", help="Only this node; may be repeated.")
    ] = None,
    tail: Annotated[
        int | None, typer.Option("--tail", min=0, max=sys.maxsize, help="Only the last N lines.")
    ] = None,
    since: Annotated[str, typer.Option("--since", help="Only what is newer: 10m, or a time.")] = "",
    cursor: Annotated[str, typer.Option("--cursor", help="Go on after a line of --json.")] = "",
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print a job's log: of all nodes in the order of time, or live with -f."""
    output.json_mode(as_json)
    opened = OpenJob.find(job, store)
    reader = LogReader(opened.store, opened.id, nodes=node or (), cursor=cursor)
    nodes = jobs.read(opened.store, opened.id).task.nodes
    if any(each not in range(nodes) for each in node or ()):
        raise UsageError(f"{opened.id} has {nodes} nodes, counted from 0.", where="--node")
    since_s = _time(since) if since else None
    if since_s is not None:
        reader.skip_until(since_s)
    if tail is not None:
        reader.skip_to_tail(tail)
    show = printer(reader, nodes=1 if node and len(node) == 1 else nodes, as_json=as_json)
    is_whole = not (node or cursor or since or follow_on) and tail != 0
    try:
        lines = _newer(reader.poll(), since_s)
        for line in lines if tail is None else reader.last(lines, tail):
            show(line)
        if follow_on:
            for line in follow(reader, Ending(opened.store, opened.id, opened.status), show.flush):
                show(line)
        if not cursor:
            show_machines(opened, show)
        show.finish()
        if is_whole and not show.count:
            output.say(f"{opened.id} has no log so far: llmcloud status {opened.id}")
    except KeyboardInterrupt:
        show.finish()
        if follow_on:
            output.say("\n" + stay.how_to_come_back(opened.id))
        raise


def _newer(lines: Iterable[Line], since_s: float | None) -> Iterable[Line]:
    if since_s is None:
        return lines
    return (line for line in lines if line.record.ts_ms >= since_s * 1000)


def _time(text: str) -> float:
    from llmcloud.core.spec.units import Duration, UnitError

    try:
        return time.time() - Duration.parse(text).seconds
    except UnitError:
        pass
    try:
        return status.epoch_s(text)
    except ValueError as error:
        raise UsageError(
            f"--since: {text!r} is no time.", fix="Write 10m, 2h, or 2026-11-21T08:00:00Z."
        ) from error
