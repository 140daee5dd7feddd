"""`llmcloud instances`: machines by themselves."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcloud.cli import output
from llmcloud.cli.instance_options import (
    DEFAULT_LIFE,
    AcceleratorOption,
    CpusOption,
    DiskOption,
    ForOption,
    ImageOption,
    LabelOption,
    MemoryOption,
    Options,
    ProviderOption,
    RegionOption,
    SpotOption,
    TypeOption,
    provider_of,
)
from llmcloud.cli.session import JsonOption, Session, YesOption
from llmcloud.core import registry
from llmcloud.core.errors import UsageError
from llmcloud.core.instances import GLOBAL
from llmcloud.runtime import status

if TYPE_CHECKING:
    from llmcloud.core.instances import Instance
    from llmcloud.core.rent import Landlord, Tenancy

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False)

NamesArgument = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="Which.", show_default=False)
]
HEADS = ["NAME", "TYPE", "ACCELERATOR", "ZONE", "STATE", "AGE", "EXPIRES", "COST"]
LESS = ("AGE", "ACCELERATOR", "TYPE")  # what goes first where there is no room


@app.command()
def create(
    name: Annotated[
        str,
        typer.Argument(metavar="[NAME]", help="What to call it.", show_default=False),
    ] = "",
    accelerator: AcceleratorOption = "",
    instance_type: TypeOption = "",
    cpus: CpusOption = "",
    memory: MemoryOption = "",
    disk: DiskOption = "",
    image: ImageOption = "",
    spot: SpotOption = False,
    region: RegionOption = None,
    life: ForOption = DEFAULT_LIFE,
    label: LabelOption = None,
    provider: ProviderOption = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rent a machine until its time is over. The same again finds the one there is."""
    output.json_mode(as_json)
    from llmcloud.core import job as jobs
    from llmcloud.core.rent import Tenancy

    session = Session.open()
    chosen, regions = provider_of(provider, session.home)
    options = Options(
        *(accelerator, instance_type, cpus, memory, disk, image, spot),
        regions=tuple(region or regions),
        life=life,
        labels=tuple(label or ()),
    )
    landlord = _landlord(chosen, quiet=as_json)
    spec = options.spec(name or jobs.new_id("machine"), chosen)
    tenancy = Tenancy.plan(spec, session.compute(chosen), status.now())
    if dry_run:
        _show_plan(landlord, tenancy, as_json=as_json)
        return
    made = _made(landlord, tenancy, yes=yes)
    if as_json:
        output.emit(_document(made, time.time()))
        return
    output.say(_is_there(made))
    output.say(f"  llmcloud instances ssh {made.name}\n  llmcloud instances delete {made.name}")


@app.command("list")
def list_instances(
    everything: Annotated[bool, typer.Option("--all", help="Also the machines of jobs.")] = False,
    provider: ProviderOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the machines there are, in all regions."""
    output.json_mode(as_json)
    from llmcloud.cli import render

    landlord = _landlord(provider_of(provider, Session.open().home)[0])
    seen = landlord.instances.look(with_jobs=everything)
    told = list({str(each): each for each in seen.failures}.values())
    is_unknown = bool(told and not seen.instances)  # there may be some, for all we know
    for failure in told[1:] if is_unknown else told:
        output.warn(f"not looked at: {failure}")
    if is_unknown:
        raise told[0]
    now = time.time()
    if as_json:
        output.emit([_document(each, now) for each in seen.instances])
    elif seen.instances:
        heads = [*HEADS, "JOB"] if everything else HEADS
        rows = [_row(each, now, with_job=everything) for each in seen.instances]
        print(render.table(rows, heads, LESS))  # noqa: T201
    else:
        output.say("There are no machines. Make one with: llmcloud instances create")


@app.command()
def delete(
    names: NamesArgument,
    provider: ProviderOption = "",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete machines, with all that belongs to them."""
    output.json_mode(as_json)
    landlord = _landlord(provider_of(provider, Session.open().home)[0], quiet=as_json)
    places = {name: landlord.places(name) for name in dict.fromkeys(names)}
    for name, found in places.items():
        regions = ", ".join(sorted(found - {GLOBAL}))
        output.say(f"To be deleted: {name}{regions and f', in {regions}'}.")
    if not output.confirm("Delete with all that is on the disks?", yes=yes):
        raise UsageError("Nothing was deleted.")
    for name, found in places.items():
        landlord.tell(f"{name}: ending, and what belongs to it")
        landlord.delete(name, found)
        output.say(f"Deleted {name}")
    if as_json:
        output.emit({"deleted": list(places)})


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def ssh(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which.", show_default=False)],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]...", help="What to run there; without, a shell."),
    ] = None,
    provider: ProviderOption = "",
) -> None:
    """Have a shell on a machine, or run a command there. Exits as that does; no port is open."""
    landlord = _landlord(provider_of(provider, Session.open().home)[0])
    words = command[1:] if command and command[0] == "--" else command
    found = landlord.find(name)
    sys.exit(landlord.instances.connect(found, " ".join(words) if words else None))


def _landlord(provider: str, *, quiet: bool = False) -> Landlord:
    from llmcloud.core.rent import Landlord

    told = (lambda _: None) if quiet else output.mention
    return Landlord(registry.instances(provider), told)


def _made(landlord: Landlord, tenancy: Tenancy, *, yes: bool) -> Instance:
    """Find the machine, or make it once that is agreed to, and wait until it can be used."""
    name = tenancy.spec.name
    found = landlord.existing(tenancy)
    if found is None and not output.confirm(f"{_said(tenancy)} Create it?", yes=yes):
        raise UsageError("Nothing was created.")
    try:
        return landlord.await_ready(found or landlord.create(tenancy))
    except KeyboardInterrupt:
        output.say(
            f"\nInterrupted. {name} may be there, and cost: the same create finds it, and\n"
            f"llmcloud instances delete {name} --yes ends it."
        )
        raise


def _said(tenancy: Tenancy) -> str:
    """Return what is about to be spent."""
    from llmcloud.cli import render

    offer, most = tenancy.offers[0], tenancy.max_cost_usd
    what = f"{offer.accelerators} x {offer.accelerator}, " if offer.accelerators else ""
    kind = "spot, " if offer.spot else ""
    until = (
        "until you delete it"
        if most is None
        else f"for {tenancy.spec.limits.max_duration}, at most ${most:.2f}"
    )
    return (
        f"{tenancy.spec.name}: {offer.instance_type} ({what}{kind}{offer.vcpus} CPUs, "
        f"{render.memory(offer.memory_bytes)}) in {offer.region}\n"
        f"{render.an_hour(offer, 1, digits=3)} {until}; disk and traffic not counted."
    )


def _show_plan(landlord: Landlord, tenancy: Tenancy, *, as_json: bool) -> None:
    if as_json:
        requests = landlord.instances.requests(tenancy.ask(tenancy.offers[0]))
        output.emit(tenancy.to_document(requests))
        return
    print(_said(tenancy))  # noqa: T201
    from llmcloud.cli.render import an_hour

    for offer in tenancy.offers[1:4]:
        price = an_hour(offer, 1, digits=3)
        print(f"else {offer.instance_type} in {offer.region}, {price}")  # noqa: T201


def _is_there(made: Instance) -> str:
    price = made.price_usd_per_hour
    cost = "" if price is None else f", ${price:.3f} an hour"
    return f"{made.name} runs: {made.instance_type} in {made.zone}{cost}, {_expiry(made)}"


def _expiry(instance: Instance) -> str:
    expires = instance.expires_at
    if expires is None:
        return "with no end"
    return time.strftime("until %Y-%m-%d %H:%M UTC", time.gmtime(expires))


def _row(instance: Instance, now: float, *, with_job: bool) -> list[str]:
    from llmcloud.cli import render

    count, cost = instance.accelerators, instance.cost_usd(now)
    left = None if instance.expires_at is None else instance.expires_at - now
    return [
        instance.name,
        f"{instance.instance_type}{' (spot)' if instance.spot else ''}",
        f"{instance.accelerator}:{count}" if count else "",
        instance.zone,
        instance.state.value,
        render.span(now - instance.created_at),
        "never" if left is None else f"in {render.span(left)}" if left > 0 else "expired",
        "?" if cost is None else render.usd(cost),
        *([instance.job or "-"] if with_job else []),
    ]


def _document(instance: Instance, now: float) -> dict[str, Any]:
    expires, cost = instance.expires_at, instance.cost_usd(now)
    return {
        **dataclasses.asdict(instance),
        "state": instance.state.value,
        "created_at": status.rfc3339(instance.created_at),
        "expires_at": None if expires is None else status.rfc3339(expires),
        "cost_estimate_usd": None if cost is None else round(cost, 2),
    }
