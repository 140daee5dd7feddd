"""What AWS has for a job, from the catalog that travels with the program: offline."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core import catalog
from llmcloud.core.errors import NotOffered, listed
from llmcloud.core.home import Home
from llmcloud.core.provider import Offer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.core.catalog import Catalog, Listing
    from llmcloud.core.spec.machines import Machine
    from llmcloud.core.spec.models import JobSpec

FOLDER = Path(__file__).parent / "catalog"
PRICES = FOLDER / "prices.csv"
NAMED = 4  # of the types that a region lacks
DEARER = 4.0  # as a multiple: A100:8 goes from p4d to p4de, and a CPU not to 192 of them
FIRST_OF_EQUALS = ("us-east-1", "us-west-2", "us-east-2")  # the largest: the likeliest to have some

# Those that each account has, to the end of time: newer ones must be asked for, so that a job goes
# there only by name (docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html).
DEFAULT_REGIONS = frozenset(
    [
        *("us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"),
        *("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "ap-south-1"),
        *("ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-southeast-1", "ap-southeast-2"),
    ]
)


def read() -> Catalog:
    """Return the catalog of AWS's machines, with the newest prices that there are here."""
    own = refreshed(Home.from_env(os.environ))
    if catalog.date_of(own) > catalog.date_of(PRICES):
        with contextlib.suppress(OSError, ValueError, KeyError):  # damaged: it can be made again
            return _read(own, own.stat().st_mtime_ns)
    return _read(PRICES, 0)


def refreshed(home: Home) -> Path:
    """Return the file of the prices that this user has had refreshed."""
    return home.root / "catalog" / "aws" / "prices.csv"


@functools.cache
def _read(prices: Path, _changed_at: int) -> Catalog:
    return catalog.read(FOLDER / "machines.csv", prices)


def offers(spec: JobSpec) -> list[Offer]:
    """Return what satisfies a job: by the regions that it names, else the cheapest first.

    All nodes of a job are of one type, that satisfies each role. Where the price of spot machines
    was not refreshed, it is that on demand, which AWS takes for the highest bid unless told. What
    costs several times as much as the cheapest is nothing to fall back on unasked.
    Raises NotOffered, with what may have been meant.
    """
    machines = [group.machine for group in spec.machine_groups()]
    matching = read().matching(machines)
    if not matching:
        raise _unknown(machines)
    regions = spec.region or ()
    # False < "fallback" < True: what all roles agree to
    wish = min((each.spot for each in machines), key=(False, "fallback", True).index)
    kinds = {False: (False,), "fallback": (True, False), True: (True,)}[wish]
    # A training job's spot machines have prices of their own, which are nowhere told.
    knows_spot = spec.service == "vm"
    if strange := [each for each in regions if each not in read().regions()]:
        raise _no_region(strange)
    found = [
        _offer(spec.service, placed, spot=spot)
        for spot in kinds
        for placed in _placed(matching, regions, spot=spot and knows_spot)
    ]
    if not found:
        raise _elsewhere(matching, regions)
    most = min(_on_demand(each) for each in found) * DEARER
    return [each for each in found if _on_demand(each) <= most]


def _on_demand(offer: Offer) -> float:
    return offer.most_usd_per_hour or offer.price_usd_per_hour


@dataclass(frozen=True)
class Placed:
    """A type in a region, at its price there."""

    listing: Listing
    region: str
    usd_per_hour: float


def _placed(matching: Sequence[Listing], regions: Sequence[str], *, spot: bool) -> list[Placed]:
    """Return types and the regions that have them at a known price, in the order to try."""
    found = [
        Placed(listing, region, price)
        for listing in matching
        for region in (regions or DEFAULT_REGIONS)
        if (price := listing.price(region, spot=spot)) is not None
    ]
    order = [*FIRST_OF_EQUALS, *sorted({each.region for each in found} - {*FIRST_OF_EQUALS})]
    return sorted(
        found,
        key=lambda each: (
            regions.index(each.region) if regions else 0,
            each.usd_per_hour,
            order.index(each.region),
        ),
    )


def _offer(service: str, placed: Placed, *, spot: bool) -> Offer:
    listing, region = placed.listing, placed.region
    return Offer(
        provider="aws",
        service=service,
        region=region,
        instance_type=listing.instance_type,
        vcpus=listing.vcpus,
        memory_bytes=listing.memory_bytes,
        price_usd_per_hour=placed.usd_per_hour,
        accelerator=listing.accelerator,
        accelerators=listing.accelerators,
        spot=spot,
        architecture=listing.architecture,
        most_usd_per_hour=listing.prices.get(region) if spot else None,
    )


def _unknown(machines: Sequence[Machine]) -> NotOffered:
    wanted = " and ".join(dict.fromkeys(_described(each) for each in machines))
    near = dict.fromkeys(str(listing) for each in machines for listing in read().nearest(each))
    fix = f"Did you mean {', '.join(near)}?" if near else "llmcloud accelerators --provider aws"
    return NotOffered(
        f"No type of machine in the catalog has {wanted}.", where="provider aws", fix=fix
    )


def _no_region(names: Sequence[str]) -> NotOffered:
    known = read().regions()
    near = dict.fromkeys(
        each for name in names for each in difflib.get_close_matches(name.lower(), known, n=2)
    )
    fix = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(known)}."
    what = f"The catalog has no region {' nor '.join(names)}."
    return NotOffered(what, where="provider aws", fix=fix)


def _elsewhere(matching: Sequence[Listing], regions: Sequence[str]) -> NotOffered:
    named = list(dict.fromkeys(str(each) for each in matching))
    types = listed(named, NAMED)
    places = sorted({region for each in matching for region in each.prices})
    if not places:
        return NotOffered(
            f"The catalog has no price on demand of {types}.",
            where="provider aws",
            fix="Such machines are reserved beforehand; choose another: llmcloud accelerators",
        )
    return NotOffered(
        f"The catalog has no price of {types} in {', '.join(regions) or 'a region open to all'}.",
        where="provider aws",
        fix=f"Choose one of the regions that it has: {', '.join(places)}.",
    )


def _described(machine: Machine) -> str:
    asked = [
        machine.instance_type and f"the name {machine.instance_type}",
        machine.accelerators and str(machine.accelerator),
        machine.cpus and f"{machine.cpus} CPUs",
        machine.memory and f"{machine.memory} of memory",
    ]
    return ", ".join(each for each in asked if each) or "a CPU"
