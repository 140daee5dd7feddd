"""Shows a transfer while it runs: a bar for people, events for programs, a summary at the end."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.cli import output
from llmcloud.cli.progress import bar
from llmcloud.core.errors import listed, printable
from llmcloud.core.sync import Options, Summary, sync
from llmcloud.core.transfer.meter import Meter
from llmcloud.core.transfer.route import Events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmcloud.core.transfer.sides import Source, Target

TICK_S = 1.0
NAMED = 5


@dataclass(frozen=True)
class Asked:
    """What the user wants of a transfer; `verb` says what was done with each file."""

    verb: str
    checksum: bool = False
    delete: bool = False
    limit_rate: str = ""
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False

    def options(
        self, meter: Meter, target_url: str, hide: Callable[[], None] = lambda: None
    ) -> Options:
        """Return it as the options of a sync; `hide` takes the bar away before a question."""

        def may_remove(names: Sequence[str]) -> bool:
            hide()
            return _may_remove(names, target_url, yes=self.yes)

        return Options(
            checksum=self.checksum,
            dry_run=self.dry_run,
            delete=self.delete,
            may_remove=may_remove,
            bytes_per_s=_rate(self.limit_rate),
            events=self._events(),
            meter=meter,
        )

    def _events(self) -> Events:
        if self.as_json:
            return Events(
                moved=lambda item: _emit(self.verb, name=item.name, size=item.size),
                left_out=lambda name, reason: _emit("left_out", name=name, reason=reason),
                failed=lambda name, reason: _emit("failed", name=name, reason=reason),
            )
        if self.dry_run:
            return Events(
                moved=lambda item: output.say(f"  {printable(item.name)}"), left_out=_left_out
            )
        return Events(left_out=_left_out)


def transfer(asked: Asked, source: Source, target: Target) -> None:
    """Run a sync and tell of it."""
    meter = Meter()
    with shown(asked, meter) as hide:
        summary = sync(source, target, asked.options(meter, target.url, hide))
    report(asked, summary, target.url)


def report(asked: Asked, summary: Summary, url: str) -> None:
    """Tell what was done, or would be."""
    from llmcloud.cli import render

    if asked.as_json:
        output.emit_last(
            {
                "event": "summary",
                asked.verb: summary.transferred,
                "size": summary.size_bytes,
                "unchanged": summary.unchanged,
                "removed": list(summary.removed),
                "left_out": summary.left_out,
                "url": url,
                "dry_run": asked.dry_run,
            }
        )
        return
    if asked.dry_run:
        for name in summary.removed:
            output.say(f"  {printable(name)} (to be removed)")
    would = "would be " if asked.dry_run else ""
    removed = f", {len(summary.removed):,} {would}removed" if summary.removed else ""
    output.say(
        f"{summary.transferred:,} {would}{asked.verb} ({render.size(summary.size_bytes)}), "
        f"{summary.unchanged:,} unchanged{removed}: {url}"
    )


@contextlib.contextmanager
def shown(asked: Asked, meter: Meter) -> Iterator[Callable[[], None]]:
    """Show how far a transfer is while it runs; yield what hides it."""
    if not asked.as_json:
        try:
            with bar(asked.verb.removesuffix("ed"), meter, quiet=asked.dry_run) as hide:
                yield hide
        except KeyboardInterrupt:
            output.say("Stopped. The same command goes on where this one ended.")
            raise
        return
    over = threading.Event()
    ticking = threading.Thread(target=_tick, args=(over, meter), daemon=True)
    ticking.start()
    try:
        yield lambda: None
    finally:
        over.set()
        ticking.join()


def _tick(over: threading.Event, meter: Meter) -> None:
    while not over.wait(TICK_S):
        _emit(
            "progress",
            bytes=meter.bytes_done,
            bytes_total=meter.bytes_total,
            files=meter.files_done,
            files_total=meter.files_total,
            listed=meter.is_listed,
        )


def _emit(event: str, **facts: Any) -> None:
    output.emit_line({"event": event, **facts})


def _left_out(name: str, reason: str) -> None:
    output.warn(f"{printable(name)} is left out: {reason}")


def _may_remove(names: Sequence[str], target_url: str, *, yes: bool) -> bool:
    output.say(f"Not in the source: {printable(listed(names, NAMED))}.")
    return output.confirm(f"Remove {len(names):,} from {target_url}?", yes=yes)


def _rate(text: str) -> float:
    from llmcloud.core.errors import UsageError
    from llmcloud.core.spec.units import Size, UnitError

    if not text or text.isdigit():
        return float(text or 0)
    try:
        return Size.parse(text.removesuffix("/s")).bytes
    except UnitError as error:
        raise UsageError(f"--limit-rate: {error.message}.", fix=f"{error.hint}.") from error
