"""`llmcloud watch`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from llmcloud.cli import output, render, stay
from llmcloud.cli.arguments import JobArgument
from llmcloud.cli.session import JsonOption, OpenJob, StoreOption
from llmcloud.core.watch import Watcher
from llmcloud.runtime.errors import Throttled, Unavailable
from llmcloud.runtime.metrics.metric import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.cli.watch_screen import Screen
    from llmcloud.core.watch import Snapshot

REFRESH_S = 1.0


def watch(job: JobArgument, store: StoreOption = "", as_json: JsonOption = False) -> None:
    """Show a job live until it ends, and exit as it did: 0, 7 if it failed, 8 if it was cancelled.

    Ctrl-C leaves; the job runs on. Without a terminal, prints a line whenever something changed.
    """
    output.json_mode(as_json)
    opened = OpenJob.find(job, store)
    watcher = Watcher(opened.store, opened.id, opened.observe)
    show = JsonLines() if as_json else _screen() or PlainLines()
    try:
        with show:
            last = until_over(watcher.look, show)
    except KeyboardInterrupt:
        output.say("\n" + stay.how_to_come_back(opened.id))
        sys.exit(130)
    output.json_mode(False)  # the last object has told it all
    stay.finish(opened, last.view.status)


class Show(Protocol):
    """Where snapshots go, one after the other."""

    def show(self, seen: Snapshot, note: str) -> None:
        """Show a snapshot; `note` says why there is no newer one."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""


def until_over(look: Callable[[], Snapshot], show: Show) -> Snapshot:
    """Show a job until it is over; a store that does not answer for a while is waited for."""
    seen, note = look(), ""
    while True:
        show.show(seen, note)
        if seen.is_over:
            return seen
        show.wait(REFRESH_S)
        try:
            seen, note = look(), ""
        except (Unavailable, Throttled) as failure:
            note = str(failure)


def _screen() -> Screen | None:
    """Return the terminal, if there is one that can be drawn on."""
    if not sys.stdout.isatty():
        return None
    from llmcloud.cli.watch_screen import Screen

    return Screen.open()


class _Lines:
    """Prints what has changed, to pipes and files."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class PlainLines(_Lines):
    """One line a change of the state or the step."""

    def __init__(self) -> None:
        self._before: tuple[object, ...] = ()
        self._noted = ""

    def show(self, seen: Snapshot, note: str) -> None:
        """Print a line if the state, the step or the loss is another."""
        now, at = seen.view.status, seen.progress
        change = (now.attempt, seen.stage, at.step, at.values.get("loss"))
        if change != self._before:
            print(plain_line(seen), flush=True)  # noqa: T201
        if note and note != self._noted:
            output.warn(note)
        self._before, self._noted = change, note


def plain_line(seen: Snapshot) -> str:
    """Return a snapshot as one line."""
    now, at = seen.view.status, seen.progress
    parts = [seen.stage, f"attempt {now.attempt}"]
    if at.step is not None:
        parts.append(f"step {at.step}" + (f"/{at.total}" if at.total else ""))
    parts += [
        f"{name} {render.number(at.values[name])}"
        for name in ("loss", "eval_loss", "lr")
        if name in at.values
    ]
    if at.tokens_per_s is not None:
        parts.append(f"{render.number(at.tokens_per_s)} tok/s")
    if at.remaining_s is not None and not now.state.is_final:
        parts.append(f"{render.span(at.remaining_s)} left")
    return "  ".join(parts)


@dataclass
class JsonLines(_Lines):
    """One object a change: what `status --json` prints, and how the training goes."""

    _before: dict[str, Any] | None = None

    def show(self, seen: Snapshot, note: str) -> None:
        """Print the snapshot if anything but its cost is another."""
        document = to_document(seen)
        if note:
            output.warn(note)
        compared = {**document, "cost_estimate_usd": None}
        if compared != self._before:
            output.emit_line(document)
        self._before = compared


def to_document(seen: Snapshot) -> dict[str, Any]:
    """Return a snapshot as `watch --json` prints it."""
    at = seen.progress
    latest: dict[str, str | int | float] = {n: plain(value) for n, value in at.values.items()}
    latest |= {n: v for n, v in (("step", at.step), ("total", at.total)) if v is not None}
    document = render.view_document(seen.view, seen.roles, latest)
    for node in document["nodes"]:
        beat = seen.view.beats.get(node["rank"])
        node["heartbeat_at"] = beat.at if beat else None
        node["usage"] = beat.usage if beat else {}
    progress = {
        "step": at.step,
        "total": at.total,
        "steps_per_s": at.steps_per_s,
        "tokens_per_s": None if at.tokens_per_s is None else plain(at.tokens_per_s),
        "remaining_s": at.remaining_s,
    }
    return {**document, "progress": progress, "checkpoints": list(seen.checkpoints)}
