"""`llmcloud data`: files and folders to a store and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcloud.cli import output
from llmcloud.cli.progress import bar
from llmcloud.cli.session import JsonOption, Session, StoreOption, YesOption
from llmcloud.core.errors import UsageError
from llmcloud.core.location import Location, locate, places
from llmcloud.runtime.status import rfc3339

if TYPE_CHECKING:
    from llmcloud.core.sync import Summary
    from llmcloud.runtime.store import Entry, ObjectStore

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

PlaceArgument = Annotated[
    str,
    typer.Argument(
        metavar="PLACE", help="A name in the store, or a file:// URL.", show_default=False
    ),
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option("--exclude", help="A pattern as in .gitignore; may be repeated.")
]
ChecksumOption = Annotated[
    bool, typer.Option("--checksum", help="Compare digests instead of sizes and times.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command()
def push(
    source: Annotated[str, typer.Argument(help="A file, a folder, or a pattern like 'd/*.bin'.")],
    place: PlaceArgument,
    exclude: ExcludeOption = None,
    checksum: ChecksumOption = False,
    dry_run: DryRunOption = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Upload what the store does not have yet."""
    output.json_mode(as_json)
    from llmcloud.core import sync

    location = locate(place, Session.open(store).store)
    if not dry_run:
        location.store.create()
    with bar("push", quiet=as_json) as progress:
        options = sync.Options(exclude or (), checksum, dry_run, progress)
        summary = sync.push(location.store, location.prefix, source, options)
    _report("pushed", summary, location, dry_run=dry_run, as_json=as_json)


@app.command()
def pull(
    place: PlaceArgument,
    target: Annotated[str, typer.Argument(help="The folder to write to.")] = ".",
    checksum: ChecksumOption = False,
    dry_run: DryRunOption = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Download what is not here yet; each file is verified, and whole or absent."""
    output.json_mode(as_json)
    from llmcloud.core import sync

    location = locate(place, Session.open(store).store)
    with bar("pull", quiet=as_json) as progress:
        options = sync.Options((), checksum, dry_run, progress)
        summary = sync.pull(location.store, location.prefix, Path(target), options)
    _report("pulled", summary, location, dry_run=dry_run, as_json=as_json)


@app.command("list")
def list_data(
    place: Annotated[
        str, typer.Argument(metavar="[PLACE]", help="Left out: all that has a name.")
    ] = "",
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """List what lies in a place, or the places that have names, with the URLs jobs read them by."""
    output.json_mode(as_json)
    default = Session.open(store).store
    if place:
        _list_place(place, locate(place, default), as_json=as_json)
    else:
        _list_places(default, as_json=as_json)


def _list_places(store: ObjectStore, *, as_json: bool) -> None:
    from llmcloud.cli import render

    found = places(store)
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
        output.say(f"Nothing has been pushed to {store.url}. Begin with: llmcloud data push")


def _list_place(place: str, where: Location, *, as_json: bool) -> None:
    from llmcloud.cli import render
    from llmcloud.runtime.errors import NotFound

    found = where.store.objects(where.prefix) if where.store.is_there() else ()
    entries = [(entry.key[len(where.prefix) :], entry) for entry in found]
    if not entries:
        raise NotFound(f"There is nothing in {place}.", where=where.url, fix="llmcloud data list")
    if as_json:
        output.emit([_document(name, entry) for name, entry in entries])
        return
    print(render.table([[render.size(e.size), name] for name, e in entries], ["SIZE", "NAME"]))  # noqa: T201
    total = sum(entry.size for _, entry in entries)
    output.say(f"{len(entries)} objects, {render.size(total)}, {where.url}")


def _document(name: str, entry: Entry) -> dict[str, Any]:
    return {"name": name, "size": entry.size, "modified_at": rfc3339(entry.modified_at)}


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
    from llmcloud.core import sync

    location = locate(place, Session.open(store).store)
    summary = sync.remove(location.store, location.prefix, dry_run=True)
    many = f"{len(summary.transferred)} objects under {location.url}"
    if not dry_run:
        if not output.confirm(f"Remove {many}?", yes=yes):
            raise UsageError("Nothing was removed.")
        sync.remove(location.store, location.prefix)
    _report("removed", summary, location, dry_run=dry_run, as_json=as_json)


def _report(
    verb: str, summary: Summary, location: Location, *, dry_run: bool, as_json: bool
) -> None:
    from llmcloud.cli import render

    if as_json:
        document: dict[str, Any] = {
            verb: list(summary.transferred),
            "unchanged": summary.unchanged,
            "size": summary.size_bytes,
            "left_out": summary.left_out,
            "url": location.url,
            "dry_run": dry_run,
        }
        output.emit(document)
        return
    for name, reason in summary.left_out.items():
        output.warn(f"{name} was left out: {reason}")
    would = "would be " if dry_run else ""
    output.say(
        f"{len(summary.transferred)} {would}{verb} ({render.size(summary.size_bytes)}), "
        f"{summary.unchanged} unchanged: {location.url}"
    )
