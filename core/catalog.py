"""The machines of a cloud and their prices, as the files say that travel with the program."""

from __future__ import annotations

import csv
import difflib
import itertools
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from llmcloud.core.spec.machines import Machine
    from llmcloud.core.spec.units import Memory

MIB = 1 << 20
NEAREST = 3
PRICE_COLUMNS = ("instance_type", "region", "usd_per_hour", "spot_usd_per_hour")
LIKE = 0.5  # of 1: a100 is so like a10g
GIB_PER_GB = 2**30 / 10**9  # what a vendor calls 32 GB may be 32 GiB

# What people call an accelerator that the catalogs call otherwise.
ALIASES = {
    "a100-40gb": "A100",
    "v100": "V100-32GB",  # where there is no smaller one
    "h100-80gb": "H100",
    "h200-141gb": "H200",
    "t4-16gb": "T4",
    "l4-24gb": "L4",
    "a10g-24gb": "A10G",
    "l40s-48gb": "L40S",
    "rtx-pro-server-6000": "RTXPRO6000",
    "trn1": "Trainium",
    "trainium1": "Trainium",
    "trn2": "Trainium2",
}


@dataclass(frozen=True)
class Listing:
    """An instance type; `accelerator_memory_bytes` is each accelerator's.

    `rdma_interfaces` is how many its `network_cards` can have, one each.
    `prices` are in USD an hour, on demand, by region; `regions` are also those without one.
    `spot_prices` are of the cheapest zone of each region, and known for a while only.
    """

    instance_type: str
    accelerator: str | None
    accelerators: int
    accelerator_memory_bytes: int
    vcpus: int
    memory_bytes: int
    architecture: str
    is_burstable: bool
    rdma_interfaces: int
    network_cards: int
    regions: tuple[str, ...]
    prices: Mapping[str, float]
    spot_prices: Mapping[str, float] = field(default_factory=dict)

    @property
    def cheapest(self) -> float:
        """Return the lowest price; infinity if none is known."""
        return min(self.prices.values(), default=math.inf)

    def price(self, region: str, *, spot: bool) -> float | None:
        """Return what it costs in a region; for spot where that is not known, the highest bid."""
        on_demand = self.prices.get(region)
        return self.spot_prices.get(region, on_demand) if spot else on_demand

    @property
    def is_plain(self) -> bool:
        """Tell whether it may be chosen unnamed.

        Code and images are made for x86, and under the load of a training a burstable machine costs
        more than its price.
        """
        return self.architecture == "x86_64" and not self.is_burstable

    def __str__(self) -> str:
        if not self.accelerators:
            return self.instance_type
        return f"{self.accelerator}:{self.accelerators} ({self.instance_type})"


@dataclass(frozen=True)
class Price:
    """What a type costs in a region, in USD an hour; None is not known, or not to be had."""

    instance_type: str
    region: str
    on_demand: float | None
    spot: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, str]) -> Price:
        """Read a line of a file of prices."""
        on_demand, spot = (_usd(row.get(column)) for column in PRICE_COLUMNS[2:])
        return cls(row["instance_type"], row["region"], on_demand, spot)


@dataclass(frozen=True)
class Refreshed:
    """How a refresh went: what was `skipped`, and why."""

    prices: int
    spot_prices: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalog:
    """What a cloud offers; `date` and `source` are of the prices."""

    listings: tuple[Listing, ...]
    date: str
    source: str

    @property
    def has_spot_prices(self) -> bool:
        """Tell whether any price of spot machines is known."""
        return any(each.spot_prices for each in self.listings)

    def matching(self, machines: Sequence[Machine]) -> list[Listing]:
        """Return the types that satisfy each of these machines, the cheapest first.

        Without a name or an accelerator asked for, none with accelerators is among them.
        """
        is_named = any(each.instance_type for each in machines)
        is_accelerated = any(each.accelerators for each in machines)
        found = [
            each
            for each in self.listings
            if (is_named or (each.is_plain and bool(each.accelerators) == is_accelerated))
            and all(self._suits(each, machine) for machine in machines)
        ]
        return sorted(found, key=lambda each: each.cheapest)

    def find(self, instance_type: str) -> Listing | None:
        """Return a type by its name."""
        return next((each for each in self.listings if each.instance_type == instance_type), None)

    def _suits(self, listing: Listing, machine: Machine) -> bool:
        wanted = machine.accelerator
        if machine.instance_type and machine.instance_type != listing.instance_type:
            return False
        if wanted and wanted.count:
            has = (listing.accelerator, listing.accelerators)
            if has != (self.accelerator(wanted.name), wanted.count):
                return False
        cpus, memory = machine.cpus, machine.memory
        is_enough = not cpus or (
            listing.vcpus >= cpus.count if cpus.or_more else listing.vcpus == cpus.count
        )
        return is_enough and (not memory or _holds(listing.memory_bytes, memory))

    def accelerator(self, name: str) -> str | None:
        """Return the catalog's own name of an accelerator, however it is written."""
        key = _key(name)
        known = {_key(each): each for each in self.accelerators()}
        alias = {_key(other): its for other, its in ALIASES.items()}.get(key, "")
        return known.get(key) or known.get(_key(alias))

    def accelerators(self) -> list[str]:
        """Return the accelerators that there are, by name."""
        return sorted({each.accelerator for each in self.listings if each.accelerator})

    def regions(self) -> list[str]:
        """Return the regions that have any machine, by name."""
        return sorted({at for each in self.listings for at in (*each.regions, *each.prices)})

    def variants(self, name: str) -> list[str]:
        """Return what a name, or the beginning of one, stands for: a100 is A100 and A100-80GB."""
        its, key = self.accelerator(name), _key(name)
        if its:
            sizes = [each for each in self.accelerators() if each.startswith(f"{its}-")]
            return [its, *sizes] if _key(its) == key else [its]
        return [each for each in self.accelerators() if key and _key(each).startswith(key)]

    def nearest(self, machine: Machine) -> list[Listing]:
        """Return what may have been meant by a machine that nothing satisfies."""
        if machine.instance_type:
            types = {each.instance_type: each for each in self.listings}
            asked = machine.instance_type.lower()
            close = difflib.get_close_matches(asked, types, n=NEAREST)
            return [types[each] for each in close]
        wanted = machine.accelerator
        if not wanted or not wanted.count:
            return []
        names = self.like(wanted.name)
        found: dict[tuple[str, int], Listing] = {}
        for each in sorted(self.listings, key=lambda each: each.cheapest):
            if each.accelerator in names:
                found.setdefault((each.accelerator, each.accelerators), each)
        distance = {key: (names.index(key[0]), abs(key[1] - wanted.count)) for key in found}
        return [found[key] for key in sorted(found, key=distance.__getitem__)][:NEAREST]

    def like(self, name: str) -> list[str]:
        """Return the accelerators whose names are like this one, the most like first."""
        known = {_key(each): each for each in self.accelerators()}
        close = [known[each] for each in difflib.get_close_matches(_key(name), known, cutoff=LIKE)]
        return list(dict.fromkeys([*self.variants(name), *close]))[:NEAREST]


def read(machines: Path, prices: Path) -> Catalog:
    """Read a catalog: one file says what the machines are, the other what they cost where."""
    with prices.open(encoding="utf-8") as lines:
        said, rows = _split(lines)
    priced = [Price.of(row) for row in csv.DictReader(rows)]
    by_type: dict[str, list[Price]] = defaultdict(list)
    for price in priced:
        by_type[price.instance_type].append(price)
    with machines.open(encoding="utf-8") as lines:
        listings = [
            _listing(row, by_type[row["instance_type"]]) for row in csv.DictReader(_split(lines)[1])
        ]
    return Catalog(tuple(listings), said.get("date", ""), said.get("source", ""))


def date_of(prices: Path) -> str:
    """Return the day that prices are of, as 2026-01-31; nothing where no such file can be read."""
    try:
        with prices.open(encoding="utf-8") as lines:
            head = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    except (OSError, ValueError):
        return ""
    return _split(head)[0].get("date", "").partition(" ")[0]


def write_prices(path: Path, prices: Iterable[Price], date: str, source: str) -> None:
    """Write prices as `read` reads them, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# date: {date}\n# source: {source}\n")
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(PRICE_COLUMNS)
        for each in sorted(prices, key=lambda price: (price.instance_type, price.region)):
            usd = ("" if number is None else number for number in (each.on_demand, each.spot))
            rows.writerow((each.instance_type, each.region, *usd))
    fresh.replace(path)


def _split(lines: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return what the comments say as `# key: value`, and the lines that are none."""
    said, rows = {}, []
    for line in lines:
        if found := re.fullmatch(r"# (\w+): (.*)\n", line):
            said[found[1]] = found[2]
        elif not line.startswith("#"):
            rows.append(line)
    return said, rows


def _listing(row: Mapping[str, str], prices: Sequence[Price]) -> Listing:
    return Listing(
        instance_type=row["instance_type"],
        accelerator=row["accelerator"] or None,
        accelerators=int(row["accelerators"] or 0),
        accelerator_memory_bytes=int(row["accelerator_mib"] or 0) * MIB,
        vcpus=int(row["vcpus"]),
        memory_bytes=int(row["memory_mib"]) * MIB,
        architecture=row["architecture"],
        is_burstable=row["burstable"] == "yes",
        rdma_interfaces=int(row["rdma_interfaces"]),
        network_cards=int(row["network_cards"]),
        regions=tuple(row["regions"].split()),
        prices={each.region: each.on_demand for each in prices if each.on_demand is not None},
        spot_prices={each.region: each.spot for each in prices if each.spot is not None},
    )


def _usd(written: str | None) -> float | None:
    return float(written) if written else None


def _holds(memory_bytes: int, wanted: Memory) -> bool:
    least = wanted.size.bytes
    return memory_bytes >= least and (wanted.or_more or memory_bytes <= least * GIB_PER_GB)


def _key(name: str) -> str:
    """Return a name without what people write this way or that: NVIDIA-A100-80G is a10080gb."""
    plain = re.sub(r"-(\d+)g$", r"-\1gb", name.lower())
    return re.sub(r"^(nvidia|tesla|aws)|[^a-z0-9]", "", plain)
