"""The picture that `llmcloud watch` shows: a snapshot of a job, drawn to fit any terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from llmcloud.cli import curve, render
from llmcloud.cli.watch_nodes import draw_nodes
from llmcloud.core import job as jobs
from llmcloud.runtime.heartbeat import Phase
from llmcloud.runtime.status import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console, ConsoleOptions

    from llmcloud.core.watch import LogLine, Snapshot

TALL = 20  # lines from where on there is room to breathe
ROOMY = 72  # columns from where on two curves stand side by side
GAP = 2
NODE_STYLES = ("cyan", "yellow", "green", "magenta", "blue")
LEAVE = "Ctrl-C leaves, the job runs on"
WAITING = {
    State.SUBMITTED.value: "waiting for its code and data",
    State.STAGING.value: "its code and data are on their way",
    State.PROVISIONING.value: "its machines are getting ready",
    Phase.FETCHING.value: "its nodes fetch code and data",
    Phase.SETUP.value: "its nodes run setup",
    Phase.READY.value: "its nodes meet",
    State.RUNNING.value: "no step reported yet",
    State.PREEMPTED.value: "its machines were taken away; waiting for new ones",
}


@dataclass(frozen=True)
class Picture:
    """A renderable that fills what it is given; `note` is shown below the title."""

    seen: Snapshot
    note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from draw(
            self.seen, options.max_width, options.height or options.size.height, self.note
        )


def draw(seen: Snapshot, width: int, height: int, note: str = "") -> list[Text]:
    """Return at most `height` lines of at most `width` columns."""
    lines = [_title(seen, width), *_problems(seen, width, note, 1 + (height >= TALL))]
    lines += _progress(seen, width)
    lines += _flow(_facts(seen, width), width, 1 + (height >= TALL))
    if height >= TALL:
        lines.append(Text())
    rows = _Rows.share(height - len(lines), seen)
    lines += _curves(seen, width, rows.curve)
    lines += draw_nodes(seen, width, rows.nodes)
    lines += _log(seen, width, rows.log)
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


@dataclass(frozen=True)
class _Rows:
    """How many lines each part gets, its heading included."""

    curve: int
    nodes: int
    log: int

    @classmethod
    def share(cls, free: int, seen: Snapshot) -> _Rows:
        """Give the nodes a third at most, and the curve twice what the log has, where it fits."""
        nodes = min(1 + len(seen.roles), free // 3)
        nodes = nodes if nodes > 1 else 0
        rest = free - nodes
        drawn = rest - max(3, rest // 3)
        if drawn < curve.HEIGHT_MIN:
            drawn = curve.HEIGHT_MIN if rest >= curve.HEIGHT_MIN else 0
        return cls(drawn, nodes, rest - drawn) if seen.loss else cls(0, nodes, rest)


def _title(seen: Snapshot, width: int) -> Text:
    now = seen.view.status
    sign, color = render.LOOKS[now.state]
    left = Text.assemble((f"{sign} {seen.stage}", f"bold {color}"), "  ", (now.job, "bold"))
    cost = jobs.cost_usd(seen.view, seen.at_s)
    parts = [
        render.duration(now, seen.at_s),
        "" if cost is None else render.usd(cost),
        f"attempt {now.attempt}" if now.attempt > 1 else "",
        " ".join(part for part in (now.provider, now.region) if part),
        "" if now.exit_code is None else f"exit {now.exit_code}",
    ]
    parts = [part for part in parts if part]
    while parts and left.cell_len + GAP + len(" · ".join(parts)) > width:
        parts.pop()
    right = " · ".join(parts)
    return left + " " * max(0, width - left.cell_len - len(right)) + Text(right, "dim")


def _problems(seen: Snapshot, width: int, note: str, rows: int) -> list[Text]:
    """Return what went wrong, in at most `rows` lines."""
    now = seen.view.status
    said = render.one_line(now.error or note)
    style = "red" if now.error else "yellow"
    shown = said[: width * rows - 1] + "…" if len(said) > width * rows else said
    return [Text(shown[at : at + width], style) for at in range(0, len(shown), width)]


def _progress(seen: Snapshot, width: int) -> list[Text]:
    """Return the bar, or why there is none."""
    now, at = seen.view.status, seen.progress
    if at.step is None:
        return [Text(WAITING[seen.stage] + " …", "dim")] if seen.stage in WAITING else []
    if not at.total:
        return [Text(f"step {at.step}")]
    share = min(1.0, max(0.0, at.step / at.total))
    label = f" {at.step}/{at.total}  {share:.0%}"
    if at.remaining_s is not None and not now.state.is_final:
        label += f"  {render.span(at.remaining_s)} left"
    done = "green" if now.state is State.SUCCEEDED else render.LOOKS[now.state][1]
    room = max(0, width - len(label))
    full = int(share * room)
    return [Text.assemble(("━" * full, done), ("─" * (room - full), "dim"), label)]


def _facts(seen: Snapshot, width: int) -> Iterator[Text]:
    """Yield the latest values, those that matter most first."""
    at = seen.progress
    rest = dict(at.values)
    for name in ("loss", "eval_loss", "lr"):
        if name in rest:
            yield _fact(name, render.number(rest.pop(name)))
    rest.pop("tok_s", None)
    if at.tokens_per_s is not None:
        yield _fact("tok/s", render.number(at.tokens_per_s))
    if at.steps_per_s is not None and not seen.view.status.state.is_final:
        yield _fact("steps/s", f"{at.steps_per_s:.3g}")
    if seen.checkpoints:
        newest = seen.checkpoints[-3 if width >= ROOMY else -1 :]
        yield _fact("saved", " ".join(str(step) for step in newest))
    for name, value in rest.items():
        yield _fact(name, render.number(value))


def _fact(name: str, value: str) -> Text:
    return Text.assemble((f"{name} ", "dim"), (value, "bold"))


def _flow(items: Iterable[Text], width: int, rows: int) -> list[Text]:
    """Return items side by side, on at most `rows` lines; what does not fit is left out."""
    lines: list[Text] = []
    for item in items:
        if lines and lines[-1].cell_len + GAP + item.cell_len <= width:
            lines[-1] = lines[-1] + " " * GAP + item
        elif len(lines) < rows:
            lines.append(item)
    return lines


def _curves(seen: Snapshot, width: int, height: int) -> list[Text]:
    if not height:
        return []
    if len(seen.eval_loss) < 2 or width < ROOMY:
        return _curve(seen.loss, width, height, "loss")
    half = (width - GAP) // 2
    left = _curve(seen.loss, half, height, "loss")
    right = _curve(seen.eval_loss, half, height, "eval_loss")
    for line in left:
        line.truncate(half + GAP, pad=True)
    return [a + b for a, b in zip(left, right, strict=True)]


def _curve(
    points: tuple[tuple[float, float], ...], width: int, height: int, title: str
) -> list[Text]:
    """Return a curve of exactly `height` lines, so that two stand side by side."""
    drawn = curve.loss_curve(points, width, height, title=title, color=True).split("\n")
    return [Text.from_ansi(line) for line in drawn + [""] * (height - len(drawn))]


def _log(seen: Snapshot, width: int, rows: int) -> list[Text]:
    if rows < 2:
        return []
    ending = "" if seen.is_over else f" {LEAVE} ──"
    heading = "── log " + "─" * max(0, width - 7 - len(ending)) + ending
    shown = seen.log[1 - rows :]
    return [Text(heading, "dim"), *(_log_line(line, len(seen.roles)) for line in shown)]


def _log_line(line: LogLine, nodes: int) -> Text:
    prefix = f"[{line.node}] " if nodes > 1 else ""
    style = "dim" if line.is_system else ""
    return Text.assemble((prefix, NODE_STYLES[line.node % len(NODE_STYLES)]), (line.text, style))
