"""`llmcloud plan`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from llmcloud.cli import output
from llmcloud.cli.arguments import FileArgument
from llmcloud.cli.session import JsonOption, Session, SetOption

if TYPE_CHECKING:
    from llmcloud.core.plan import Plan
    from llmcloud.core.spec.load import LoadedSpec

MANAGED = "managed"
SHOWN = 3  # offers to fall back on; --json has all
INDENT = 9
NEXT_LINE = "\n" + " " * INDENT


def plan(
    file: FileArgument,
    overrides: SetOption = None,
    requests: Annotated[bool, typer.Option("--requests", help="With the exact calls.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a submit would do, where and at what price; needs neither account nor network."""
    output.json_mode(as_json)
    from llmcloud.core import job as jobs
    from llmcloud.core import plan as plans
    from llmcloud.core.spec.load import load

    loaded = load(file, overrides=overrides or [], environ=os.environ)
    made, _ = plans.make(loaded, Session.open().home, jobs.new_id(loaded.spec.name))
    show(loaded, made, as_json=as_json, requests=requests)


def show(loaded: LoadedSpec, made: Plan, *, as_json: bool, requests: bool) -> None:
    """Print a plan."""
    from llmcloud.cli import render

    document = made.to_document()
    if as_json:
        output.emit(document)
        return
    offer, limits = made.offer, loaded.spec.limits
    where = offer.region or "no region"
    retries = f"{limits.retries} " + ("retry" if limits.retries == 1 else "retries")
    memory = render.memory(offer.memory_bytes)
    rows = {
        "job": loaded.spec.name,
        "where": f"{offer.provider}, {offer.service}, {where}",
        "nodes": f"{made.nodes} x {offer.instance_type} ({offer.vcpus} CPUs, "
        f"{memory}{_accelerators(offer.accelerators, offer.accelerator)})",
        "price": _price(made),
        "limits": f"{limits.max_duration or 'no'} max_duration, {retries}",
        "else": alternatives(made),
        "not on": render.fold("; ".join(made.passed_over), INDENT),
    }
    for key, value in rows.items():
        if value:
            print(f"{key:{INDENT}}{value}")  # noqa: T201
    if requests:
        print(json.dumps(document["requests"], indent=2))  # noqa: T201


def _price(made: Plan) -> str:
    """Say what all nodes cost an hour, and the most that they can come to."""
    from llmcloud.cli.render import an_hour

    market = " for spot" if made.offer.spot else ""
    said = f"{an_hour(made.offer, made.nodes)}{market}, {_cost(made.max_cost_usd)}"
    if made.offer.service == MANAGED:
        said += f"{NEXT_LINE}as machines of your own; the training service takes more"
    return said


def alternatives(made: Plan) -> str:
    """Return the first offers to fall back on, each with its price for all nodes."""
    from llmcloud.cli.render import an_hour

    shown = [
        f"{each.instance_type} in {each.region} ({'spot' if each.spot else 'on demand'}, "
        f"{an_hour(each, made.nodes)})"
        for each in made.alternatives[:SHOWN]
    ]
    others = [each.price_usd_per_hour for each in made.alternatives[SHOWN:]]
    most = f", up to ${max(others) * made.nodes:.2f} an hour" if others else ""
    return NEXT_LINE.join([*shown, *([f"… and {len(others)} more{most}"] if others else [])])


def _accelerators(count: int, name: str | None) -> str:
    return f", {count} x {name}" if count else ""


def _cost(cost_usd: float | None) -> str:
    no_end = "with no end to it: set limits.max_duration"
    return no_end if cost_usd is None else f"at most ${cost_usd:.2f}"
