"""What AWS has for a job, from the catalog that travels with the program: offline."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core import catalog
from llmcloud.core.provider import Offer
from llmcloud.runtime.errors import NoCapacity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.core.catalog import Catalog, Listing
    from llmcloud.core.spec.machines import Machine
    from llmcloud.core.spec.models import JobSpec

FOLDER = Path(__file__).parent / "catalog"
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


@functools.cache
def read() -> Catalog:
    """Return the catalog of AWS's machines."""
    return catalog.read(FOLDER / "machines.csv", FOLDER / "prices.csv")


def offers(spec: JobSpec) -> list[Offer]:
    """Return what satisfies a job: by the regions that it names, else the cheapest first.

    All nodes of a job are of one type, that satisfies each role. The price of a spot offer is that
    on demand, which AWS takes for the highest bid unless told: what it costs is not known offline.
    Raises NoCapacity, with what may have been meant.
    """
    machines = [group.machine for group in spec.machine_groups()]
    matching = read().matching(machines)
    if not matching:
        raise _unknown(machines)
    regions = spec.region or ()
    found = _placed(matching, regions)
    if not found:
        raise _elsewhere(matching, regions)
    # False < "fallback" < True: what all roles agree to
    wish = min((each.spot for each in machines), key=(False, "fallback", True).index)
    kinds = {False: (False,), "fallback": (True, False), True: (True,)}[wish]
    return [
        _offer(spec.service, listing, region, spot=spot)
        for spot in kinds
        for listing, region in found
    ]


def _placed(matching: Sequence[Listing], regions: Sequence[str]) -> list[tuple[Listing, str]]:
    """Return types and the regions that have them at a known price, in the order to try."""
    found = [
        (listing, region)
        for listing in matching
        for region in listing.prices
        if region in (regions or DEFAULT_REGIONS)
    ]
    order = [*FIRST_OF_EQUALS, *sorted({region for _, region in found} - {*FIRST_OF_EQUALS})]
    return sorted(
        found,
        key=lambda each: (
            regions.index(each[1]) if regions else 0,
            each[0].prices[each[1]],
            order.index(each[1]),
        ),
    )


def _offer(service: str, listing: Listing, region: str, *, spot: bool) -> Offer:
    return Offer(
        provider="aws",
        service=service,
        region=region,
        instance_type=listing.instance_type,
        vcpus=listing.vcpus,
        memory_bytes=listing.memory_bytes,
        price_usd_per_hour=listing.prices[region],
        accelerator=listing.accelerator,
        accelerators=listing.accelerators,
        spot=spot,
        architecture=listing.architecture,
    )


def _unknown(machines: Sequence[Machine]) -> NoCapacity:
    wanted = " and ".join(dict.fromkeys(_described(each) for each in machines))
    near = dict.fromkeys(str(listing) for each in machines for listing in read().nearest(each))
    fix = f"Did you mean {', '.join(near)}?" if near else "llmcloud accelerators --provider aws"
    return NoCapacity(
        f"No type of machine in the catalog has {wanted}.", where="provider aws", fix=fix
    )


def _elsewhere(matching: Sequence[Listing], regions: Sequence[str]) -> NoCapacity:
    types = ", ".join(dict.fromkeys(str(each) for each in matching))
    places = sorted({region for each in matching for region in each.prices})
    if not places:
        return NoCapacity(
            f"The catalog has no price on demand of {types}.",
            where="provider aws",
            fix="Such machines are reserved beforehand; choose another: llmcloud accelerators",
        )
    return NoCapacity(
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
