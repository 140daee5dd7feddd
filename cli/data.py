"""`llmcloud data`: files and folders to a store and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcloud.cli import output
from llmcloud.cli.session import JsonOption, Session, StoreOption, YesOption
from llmcloud.core.errors import UsageError, printable
from llmcloud.runtime.status import rfc3339

if TYPE_CHECKING:
    from llmcloud.core.location import Place
    from llmcloud.core.transfer.sides import Item, Source
    from llmcloud.runtime.store import ObjectStore

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False)

PlaceArgument = Annotated[
    str,
    typer.Argument(
        metavar="PLACE", help="A name in the store, or a URL: s3://, gs://, az:// or file://."
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="PATTERN", help="What stays, as in a .gitignore; may be repeated."
    ),
]
ChecksumOption = Annotated[
    bool, typer.Option("--checksum", help="Compare digests instead of sizes and times.")
]
DeleteOption = Annotated[
    bool, typer.Option("--delete", help="Remove from the target what the source does not have.")
]
LimitOption = Annotated[
    str,
    typer.Option("--limit-rate", metavar="SIZE", help="Bytes a second at most, like 10MB."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command(context_settings={"allow_extra_args": True})  # told better than by typer
def push(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A file, a folder, a pattern like 'd/*.bin', or a URL of such."
        ),
    ],
    place: PlaceArgument,
    exclude: ExcludeOption = None,
    checksum: ChecksumOption = False,
    delete: DeleteOption = False,
    limit_rate: LimitOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Upload what the place does not have yet."""
    output.json_mode(as_json)
    if context.args:
        raise UsageError(
            f"push takes one SOURCE and one PLACE, and was given {2 + len(context.args)} words.",
            fix="Quote a pattern, or the shell puts names in its place: '*.bin'.",
        )
    from llmcloud.cli.transfer import Asked, transfer
    from llmcloud.core import location

    session = Session.open(store)
    found = location.source(source, exclude or ())
    target = location.target(place, session.store)
    if not dry_run and "://" not in place:
        session.store.create()
    asked = Asked("pushed", checksum, delete, limit_rate, dry_run, yes, as_json)
    transfer(asked, found, target)


@app.command()
def pull(
    place: PlaceArgument,
    target: Annotated[
        str, typer.Argument(metavar="[TARGET]", help="A folder, or a URL of one.")
    ] = ".",
    exclude: ExcludeOption = None,
    checksum: ChecksumOption = False,
    delete: DeleteOption = False,
    limit_rate: LimitOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Download what is not here yet. Each file is verified, and whole or absent."""
    output.json_mode(as_json)
    from llmcloud.cli.transfer import Asked, transfer
    from llmcloud.core import location

    found = location.source(place, exclude or (), Session.open(store).store)
    asked = Asked("pulled", checksum, delete, limit_rate, dry_run, yes, as_json)
    transfer(asked, found, location.target(target))


@app.command("list")
def list_data(
    place: Annotated[
        str,
        typer.Argument(
            metavar="[PLACE]",
            help="A name in the store, or a URL; left out: all names.",
            show_default=False,
        ),
    ] = "",
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """List what lies in a place, or the places that have names.

    The latter with the URLs that jobs read them by.
    """
    output.json_mode(as_json)
    from llmcloud.core import location

    default = Session.open(store).store
    if place:
        _list_place(location.source(place, (), default), as_json=as_json)
    else:
        _list_places(location.places(default), default, as_json=as_json)


def _list_places(found: list[Place], store: ObjectStore, *, as_json: bool) -> None:
    from llmcloud.cli import render

    if as_json:
        output.emit(
            [
                {"name": p.name, "objects": p.objects, "size": p.size_bytes, "url": p.url}
                for p in found
            ]
        )
    elif found:
        rows = [[p.name, str(p.objects), render.size(p.size_bytes), p.url] for p in found]
        print(render.table(rows, ["NAME", "OBJECTS", "SIZE", "URL"]))  # noqa: T201
    else:
        output.say(
            f"Nothing has been pushed to {store.url}. Begin with: llmcloud data push SOURCE NAME"
        )


def _list_place(source: Source, *, as_json: bool) -> None:
    """Print as it comes: a million objects are listed in the memory of a few."""
    from llmcloud.cli import render

    count = total = 0
    for item in source.items():
        if item.problem:
            continue
        count, total = count + 1, total + item.size
        if as_json:
            line = json.dumps(_document(item))
        else:
            line = f"{render.size(item.size):>10}  {printable(item.name)}"
        print(line)  # noqa: T201 - and not flushed: there may be a million
    if not as_json:
        output.say(f"{render.objects(count)}, {render.size(total)}, {source.url}")


def _document(item: Item) -> dict[str, Any]:
    return {"name": item.name, "size": item.size, "modified_at": rfc3339(item.modified_at)}


@app.command()
def remove(
    place: PlaceArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove all that lies in a place."""
    output.json_mode(as_json)
    from llmcloud.cli import render
    from llmcloud.core import location

    default = Session.open(store).store
    source, url = location.source(place, (), default), location.url(place, default)
    items = list(source.items())
    names, size_bytes = [item.name for item in items], sum(item.size for item in items)
    if not dry_run:
        if not output.confirm(f"Remove {render.objects(len(names))} under {url}?", yes=yes):
            raise UsageError("Nothing was removed.")
        location.remove(source, names)
    if as_json:
        said = {"removed": names, "size": size_bytes, "url": url, "dry_run": dry_run}
        output.emit_last({"event": "summary", **said})
    else:
        would = "would be " if dry_run else ""
        for name in names if dry_run else ():
            output.say(f"  {printable(name)}")
        output.say(f"{len(names):,} {would}removed ({render.size(size_bytes)}): {url}")
