"""`llmcloud accelerators`: what each cloud offers, and its price; offline but for --refresh."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcloud.cli import output, progress
from llmcloud.cli.arguments import AcceleratorArgument, CatalogOption
from llmcloud.cli.session import JsonOption
from llmcloud.core import registry
from llmcloud.core.home import Home
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmcloud.core.catalog import Catalog, Listing

GIB = 1 << 30
HEADS = ["ACCELERATOR", "TYPE", "EACH", "VCPUS", "MEMORY", "USD/HOUR", "REGIONS"]
LESS = ("MEMORY", "VCPUS", "EACH")  # what goes first where there is no room


@dataclass(frozen=True)
class Row:
    """A type of machine of one cloud, and its prices where they were asked for."""

    provider: str
    listing: Listing
    prices: Mapping[str, float]
    spot_prices: Mapping[str, float]


def accelerators(
    name: AcceleratorArgument = "",
    provider: CatalogOption = "",
    region: Annotated[
        str,
        typer.Option(
            "--region", metavar="REGION", help="Only what is in this region.", show_default=False
        ),
    ] = "",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the clouds for today's prices first.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List GPU and Trainium machines, and what they cost an hour. Offline but for --refresh."""
    output.json_mode(as_json)
    names = [provider] if provider else list(registry.CATALOGS)
    if refresh:
        for each in names:
            _refresh(each)
    catalogs = {each: registry.catalog(each) for each in names}
    rows = [
        Row(cloud, listing, _at(region, listing.prices), _at(region, listing.spot_prices))
        for cloud, catalog in catalogs.items()
        for listing in _named(catalog, name)
    ]
    if not rows:
        raise _no_such(catalogs, name)
    found = [each for each in rows if not region or region in each.listing.regions]
    if not found:
        raise _nowhere(rows, name, region)
    found.sort(key=_order)
    if as_json:
        output.emit([_document(each, catalogs[each.provider]) for each in found])
        return
    from llmcloud.cli import render

    with_spot = any(each.spot_prices for each in found)
    heads = [*HEADS[:-1], "SPOT FROM", HEADS[-1]] if with_spot else HEADS
    cells = [_cells(each, region, with_spot=with_spot) for each in found]
    print(render.table(cells, heads, LESS))  # noqa: T201
    _explain(found, catalogs, region)


def _explain(rows: Sequence[Row], catalogs: Mapping[str, Catalog], region: str) -> None:
    """Say what the figures of a table are."""
    for catalog in catalogs.values():
        output.say(f"On demand, Linux: {catalog.source}, {catalog.date}.")
        if catalog.has_spot_prices:
            output.say("Spot: in the cheapest zone, on that day; it changes.")
    if not all(each.prices for each in rows):
        output.say("-: no price known.")
    if not region:
        output.say("REGIONS: the cheapest, and how many more; --json names all.")


def _refresh(provider: str) -> None:
    """Ask a cloud for its prices, and tell what was left out."""
    home = Home.from_env(os.environ)
    with progress.count(f"prices of {provider}") as tell:
        done = registry.refresh(provider, home, tell)
    for each in done.skipped:
        output.warn(f"No prices of spot machines: {each}")
    output.say(f"{provider}: {done.prices:,} prices on demand, {done.spot_prices:,} of spot.")


def _at(region: str, prices: Mapping[str, float]) -> Mapping[str, float]:
    return {place: price for place, price in prices.items() if not region or place == region}


def _named(catalog: Catalog, name: str) -> list[Listing]:
    """Return the types with accelerators of a name, or its variants: A100 is also A100-80GB."""
    wanted, _, count = name.partition(":")
    if wanted.lower() == "none":
        return [each for each in catalog.listings if not each.accelerator]
    names = catalog.variants(wanted) if wanted else catalog.accelerators()
    return [
        each
        for each in catalog.listings
        if each.accelerator in names and (not count or count == str(each.accelerators))
    ]


def _order(row: Row) -> tuple[str, int, float, str]:
    its = row.listing
    return (its.accelerator or "", its.accelerators, its.cheapest, its.instance_type)


def _cells(row: Row, region: str, *, with_spot: bool) -> list[str]:
    its = row.listing
    spot = min(row.spot_prices.values(), default=None)
    return [
        f"{its.accelerator}:{its.accelerators}" if its.accelerators else "",
        its.instance_type,
        f"{its.accelerator_memory_bytes / GIB:.0f} GiB" if its.accelerators else "",
        str(its.vcpus),
        f"{its.memory_bytes // GIB} GiB",
        _span(row.prices),
        *((_usd(spot) if spot else "-",) if with_spot else ()),
        region or _regions(its),
    ]


def _span(prices: Mapping[str, float]) -> str:
    if not prices:
        return "-"
    least, most = (_usd(price) for price in (min(prices.values()), max(prices.values())))
    return least if least == most else f"{least}-{most}"


def _usd(price: float) -> str:
    return f"{price:.3f}" if price < 1 else f"{price:.2f}"


def _regions(listing: Listing) -> str:
    """Name the cheapest region, and how many more there are."""
    first = min(listing.regions, key=lambda place: (listing.prices.get(place, 1e9), place))
    others = len(listing.regions) - 1
    return f"{first} +{others}" if others else first


def _document(row: Row, catalog: Catalog) -> dict[str, Any]:
    its = row.listing
    return {
        "provider": row.provider,
        "accelerator": its.accelerator,
        "count": its.accelerators,
        "instance_type": its.instance_type,
        "accelerator_memory_bytes": its.accelerator_memory_bytes,
        "vcpus": its.vcpus,
        "memory_bytes": its.memory_bytes,
        "architecture": its.architecture,
        "rdma_interfaces": its.rdma_interfaces,
        "regions": list(its.regions),
        "prices_usd_per_hour": dict(row.prices),
        "spot_prices_usd_per_hour": dict(row.spot_prices),
        "prices_date": catalog.date,
        "prices_source": catalog.source,
    }


def _no_such(catalogs: Mapping[str, Catalog], name: str) -> NotFound:
    wanted = name.partition(":")[0]
    sizes = sorted({str(each) for catalog in catalogs.values() for each in _named(catalog, wanted)})
    if sizes and wanted:  # of another count
        return NotFound(
            f"No machine in the catalog has {name!r}.", fix=f"There are {', '.join(sizes)}."
        )
    near = [each for catalog in catalogs.values() for each in catalog.like(wanted)]
    known = [each for catalog in catalogs.values() for each in catalog.accelerators()]
    fix = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(known)}."
    return NotFound(f"No machine in the catalog has {name!r}.", fix=fix)


def _nowhere(rows: list[Row], name: str, region: str) -> NotFound:
    places = sorted({place for row in rows for place in row.listing.regions})
    return NotFound(
        f"No machine{f' with {name}' if name else ''} is in {region}.",
        fix=f"There are some in {', '.join(places)}.",
    )
