"""The nodes in the picture of `llmcloud watch`: who does what, how busy, when last heard of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from llmcloud.cli import render
from llmcloud.runtime import heartbeat, status
from llmcloud.runtime.heartbeat import Phase
from llmcloud.runtime.usage import Usage

if TYPE_CHECKING:
    from llmcloud.core.watch import Snapshot
    from llmcloud.runtime.heartbeat import Heartbeat
    from llmcloud.runtime.usage import Gpu

SILENT_S = heartbeat.INTERVAL_S * 4
BARS = {100: 8, 76: 4}  # how long the bars are in terminals of at least so many columns
GAP = 2
HEADS = ("NODE", "ROLE", "PHASE", "CPU", "MEMORY", "GPU", "GPU MEMORY", "HEARD")
STYLES = {Phase.RUNNING: "green", Phase.ENDED: "dim"}


def draw_nodes(seen: Snapshot, width: int, rows: int) -> list[Text]:
    """Return a table of at most `rows` lines; where not all fit, those in trouble come first."""
    if rows < 2:
        return []
    nodes = sorted(_nodes(seen), key=lambda node: (not node.is_in_trouble, node.rank))
    hidden = len(nodes) - (rows - 1)
    if hidden > 0:
        hidden += 1
        nodes = nodes[: rows - 2]
    bar = next((size for columns, size in BARS.items() if width >= columns), 0)
    cells = [node.cells(bar) for node in nodes]
    lines = _table(cells, width)
    if hidden > 0:
        states = [beat.phase.value for beat in seen.view.beats.values()]
        counts = ", ".join(f"{states.count(each)} {each}" for each in dict.fromkeys(states))
        lines.append(Text(f"… and {hidden} more ({len(seen.roles)} in all: {counts})", "dim"))
    return lines


@dataclass(frozen=True)
class _Node:
    rank: int
    role: str
    machine: str
    beat: Heartbeat | None
    age_s: float
    is_job_over: bool

    @property
    def is_silent(self) -> bool:
        over = self.is_job_over or (self.beat is not None and self.beat.phase is Phase.ENDED)
        return not over and self.beat is not None and self.age_s > SILENT_S

    @property
    def is_in_trouble(self) -> bool:
        return self.is_silent or (self.beat is not None and bool(self.beat.exit_code))

    def cells(self, bar: int) -> list[Text]:
        """Return the row, one text a head; empty where nothing is known."""
        beat = self.beat
        usage = Usage.from_document(beat.usage) if beat and not self.is_job_over else Usage()
        if beat and beat.phase is Phase.ENDED:
            usage = Usage()
        heard = f"{render.span(self.age_s)} ago" if beat and not self.is_job_over else ""
        return [
            Text(str(self.rank)),
            Text(self.role),
            self._state(),
            _percent(usage.cpu_percent, bar),
            Text(_memory(usage.memory_used_bytes, usage.memory_total_bytes)),
            _percent(_gpu_percent(usage.gpus), bar),
            Text(_gpu_memory(usage.gpus)),
            Text(heard, "bold red" if self.is_silent else "dim"),
        ]

    def _state(self) -> Text:
        if not self.beat:
            return Text(self.machine, "dim")
        phase, outcome = self.beat.phase, self.beat.outcome
        if phase is not Phase.ENDED or outcome is None:
            return Text(phase.value, STYLES.get(phase, "yellow"))
        code = f" (exit {self.beat.exit_code})" if self.beat.exit_code else ""
        return Text(outcome.value + code, "red" if code else "")


def _nodes(seen: Snapshot) -> list[_Node]:
    machines = {machine.rank: render.machine_state(machine) for machine in seen.view.machines}
    found = []
    for rank, role in enumerate(seen.roles):
        beat = seen.view.beats.get(rank)
        age_s = seen.at_s - status.epoch_s(beat.at) if beat else 0.0
        machine = machines.get(rank, "waiting")
        found.append(_Node(rank, role, machine, beat, age_s, seen.view.status.state.is_final))
    return found


def _table(rows: list[list[Text]], width: int) -> list[Text]:
    """Return rows under their heads, without columns that are empty or do not fit."""
    columns = [
        [Text(head, "dim"), *cells]
        for head, *cells in zip(HEADS, *rows, strict=True)
        if any(cells) or head in HEADS[:3]
    ]
    widths = [max(cell.cell_len for cell in column) for column in columns]
    while len(widths) > 3 and sum(widths) + GAP * (len(widths) - 1) > width:
        del columns[-2], widths[-2]  # the last, when it was heard of, says most
    lines = []
    for cells in zip(*columns, strict=True):
        line = Text()
        for cell, size in zip(cells, widths, strict=True):
            line += cell + " " * (size - cell.cell_len + GAP)
        line.rstrip()
        lines.append(line)
    return lines


def _percent(percent: float | None, size: int) -> Text:
    if percent is None:
        return Text()
    full = min(size, round(percent / 100 * size))
    figure = f" {percent:.0f}%".rjust(5 if size else 4)
    return Text.assemble(("▮" * full, "cyan"), ("▯" * (size - full), "dim"), figure)


def _memory(used: int | None, total: int | None) -> str:
    if used is None or not total:
        return ""
    unit, name = (1e9, "GB") if total >= 1e9 else (1e6, "MB")
    digits = 1 if total < 100 * unit else 0
    return f"{used / unit:.{digits}f}/{total / unit:.{digits}f} {name}"


def _gpu_percent(gpus: tuple[Gpu, ...]) -> float | None:
    known = [gpu.utilization_percent for gpu in gpus if gpu.utilization_percent is not None]
    return sum(known) / len(known) if known else None


def _gpu_memory(gpus: tuple[Gpu, ...]) -> str:
    used = [gpu.memory_used_bytes for gpu in gpus if gpu.memory_used_bytes is not None]
    return _memory(sum(used) if used else None, sum(gpu.memory_total_bytes for gpu in gpus))
