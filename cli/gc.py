"""`llmcloud gc`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from llmcloud.cli import output, progress
from llmcloud.cli.session import JsonOption, Session, StoreOption, YesOption
from llmcloud.core import gc as sweep
from llmcloud.core.errors import listed
from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from llmcloud.core.provider import Leftover

NAMED = 4  # of the regions that are closed


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    yes: YesOption = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Find what jobs have left behind (machines, processes, half uploads), and remove it."""
    output.json_mode(as_json)
    from llmcloud.core import registry

    session = Session.open(store)
    computes = [session.compute(name) for name in registry.installed()]
    failures: list[Failure] = []
    stores = [session.store] if store else session.stores
    found = sweep.find(stores, computes, failures.append, named=bool(store))
    for compute in computes:
        if closed := compute.closed():
            regions = listed(closed, NAMED)
            output.warn(f"you may not look into these regions of {compute.name}: {regions}")
    if as_json:
        output.emit([asdict(each.leftover) for each in found])
    elif found:
        rows = [_row(each.leftover) for each in found]
        from llmcloud.cli import render

        heads = ["KIND", "JOB", "SIZE", "WHAT", "WHERE"]
        print(render.table(rows, heads, less=("SIZE",)))  # noqa: T201
    elif not failures:
        output.say("Nothing is left over.")
    if found and not dry_run and output.confirm(f"Remove these {len(found)}?", yes=yes):
        with progress.count("removed") as tell:
            kept = sweep.remove(found, tell)
        output.say(f"Removed {len(found) - len(kept)}.")
        failures += kept
    if failures:  # what was found may not be all
        for failure in failures[:-1]:
            output.warn(" ".join(filter(None, (str(failure), failure.fix))))
        raise failures[-1]


def _row(leftover: Leftover) -> list[str]:
    from llmcloud.cli import render

    size = render.size(leftover.size_bytes) if leftover.size_bytes else "-"  # a machine has none
    return [leftover.kind, leftover.job or "-", size, leftover.detail, leftover.id]
