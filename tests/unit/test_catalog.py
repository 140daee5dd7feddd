"""Which machines of a catalog satisfy what a job asks for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from llmcloud.core import catalog
from llmcloud.core.spec.machines import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.catalog import Catalog

MACHINES = """\
# Written by hand. Not all of it is true: a comment may end with a colon:
instance_type,accelerator,accelerators,accelerator_mib,vcpus,memory_mib,architecture,burstable,rdma_interfaces,network_cards,regions
arm.large,,,,2,8192,arm64,,0,1,north south
big.metal,A100,8,40960,96,1179648,x86_64,,4,4,north south
bigger.metal,A100-80GB,8,81920,96,1179648,x86_64,,4,4,north
credit.large,,,,2,8192,x86_64,yes,0,1,north
dear.large,,,,2,8192,x86_64,,0,1,north
small.large,L4,1,22888,4,16384,x86_64,,0,1,north south
small.xlarge,L4,1,22888,8,32768,x86_64,,0,1,north south
v.metal,V100-32GB,8,32768,96,786432,x86_64,,1,1,north
wide.large,,,,8,32768,x86_64,,0,1,north
waiting.metal,H200,8,144384,192,2097152,x86_64,,32,32,south
"""
PRICES = """\
# date: 2026-02-03
# source: A list: of prices
instance_type,region,usd_per_hour
arm.large,north,0.01
big.metal,north,20
big.metal,south,30
bigger.metal,north,40
credit.large,north,0.02
dear.large,north,0.1
small.large,north,1
small.large,south,0.5
small.xlarge,north,0.75
v.metal,north,31
wide.large,north,0.4
"""


@pytest.fixture
def small(tmp_path: Path) -> Catalog:
    (tmp_path / "machines.csv").write_text(MACHINES)
    (tmp_path / "prices.csv").write_text(PRICES)
    return catalog.read(tmp_path / "machines.csv", tmp_path / "prices.csv")


def machine(**asked: Any) -> Machine:
    return Machine.model_validate(asked)


def types(small: Catalog, *asked: Machine) -> list[str]:
    return [each.instance_type for each in small.matching(asked)]


def test_a_listing_holds_what_its_lines_say(small: Catalog) -> None:
    its = small.listings[1]
    assert (its.instance_type, its.accelerator, its.accelerators) == ("big.metal", "A100", 8)
    assert its.accelerator_memory_bytes == 40 << 30
    assert (its.vcpus, its.memory_bytes) == (96, 1152 << 30)
    assert (its.rdma_interfaces, its.network_cards) == (4, 4)
    assert its.regions == ("north", "south")
    assert its.prices == {"north": 20.0, "south": 30.0}
    assert str(its) == "A100:8 (big.metal)"


def test_the_comments_tell_the_prices_date_and_source(small: Catalog) -> None:
    assert (small.date, small.source) == ("2026-02-03", "A list: of prices")


def test_prices_that_are_written_are_read_as_they_were(tmp_path: Path) -> None:
    """Those of spot machines as well; what is not known stays unknown."""
    machines, prices = tmp_path / "machines.csv", tmp_path / "deep" / "prices.csv"
    machines.write_text(MACHINES)
    written = [
        catalog.Price("big.metal", "south", 30.25, 10.5),
        catalog.Price("big.metal", "north", 20.0),
        catalog.Price("waiting.metal", "south", None, 12.125),
        catalog.Price("unknown.large", "north", 1.0),
    ]
    catalog.write_prices(prices, written, "2026-02-04", "a list: of prices")
    found = catalog.read(machines, prices)
    assert (found.date, found.source) == ("2026-02-04", "a list: of prices")
    big, waiting = (found.find(name) for name in ("big.metal", "waiting.metal"))
    assert big
    assert waiting
    assert (big.prices, big.spot_prices) == ({"north": 20.0, "south": 30.25}, {"south": 10.5})
    assert (waiting.prices, waiting.spot_prices) == ({}, {"south": 12.125})
    assert found.has_spot_prices
    assert [each.name for each in prices.parent.iterdir()] == ["prices.csv"]


def test_a_spot_price_that_is_not_known_is_the_one_on_demand(small: Catalog) -> None:
    its = small.listings[1]
    assert its.price("north", spot=True) == its.price("north", spot=False) == 20.0
    assert its.price("east", spot=True) is None


@pytest.mark.parametrize(
    ("text", "date"),
    [("# date: 2026-02-03 (some)\na,b\n", "2026-02-03"), ("a,b\n", ""), ("\udcff", ""), ("", "")],
)
def test_the_date_of_prices_is_read_off_their_head(tmp_path: Path, text: str, date: str) -> None:
    (tmp_path / "prices.csv").write_text(text, errors="surrogateescape")
    assert catalog.date_of(tmp_path / "prices.csv") == date
    assert catalog.date_of(tmp_path / "none.csv") == ""


def test_a_type_without_price_is_listed_without(small: Catalog) -> None:
    its = small.listings[-1]
    assert (its.regions, its.prices, its.cheapest) == (("south",), {}, math.inf)


@pytest.mark.parametrize(
    "name",
    ["A100-80GB", "a100-80gb", "A100-80G", "a10080GB", "NVIDIA-A100-80GB", "nvidia-a100-80g"],
)
def test_an_accelerator_is_known_however_it_is_written(small: Catalog, name: str) -> None:
    assert types(small, machine(accelerator=f"{name}:8")) == ["bigger.metal"]


@pytest.mark.parametrize(
    ("name", "its"),
    [("A100", "A100"), ("A100-40GB", "A100"), ("V100", "V100-32GB"), ("tesla-v100", "V100-32GB")],
)
def test_an_accelerator_has_other_names(small: Catalog, name: str, its: str) -> None:
    assert small.accelerator(name) == its


@pytest.mark.parametrize("name", ["A10", "A1000", "100", "T4", "L40S", "nvidia", "-"])
def test_a_name_that_is_only_like_another_is_unknown(small: Catalog, name: str) -> None:
    assert small.accelerator(name) is None


def test_the_cheapest_comes_first_wherever_it_is(small: Catalog) -> None:
    assert types(small, machine(accelerator="L4:1")) == ["small.large", "small.xlarge"]


def test_the_count_of_accelerators_is_exact(small: Catalog) -> None:
    assert types(small, machine(accelerator="A100:4")) == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"cpus": "4"}, ["small.large"]),
        ({"cpus": "4+"}, ["small.large", "small.xlarge"]),
        ({"cpus": "5+"}, ["small.xlarge"]),
        ({"cpus": 5}, []),
        ({"memory": "16GB"}, ["small.large"]),
        ({"memory": "16GiB"}, ["small.large"]),
        ({"memory": "16GB+"}, ["small.large", "small.xlarge"]),
        ({"memory": "17GiB+"}, ["small.xlarge"]),
        ({"memory": "20GB"}, []),
        ({"cpus": "4", "memory": "32GB"}, []),
    ],
)
def test_cpus_and_memory_are_exact_or_minimums(
    small: Catalog, asked: dict[str, Any], found: list[str]
) -> None:
    """And 16GB is also what a vendor calls 16 GB and means as 16 GiB."""
    assert types(small, machine(accelerator="L4:1", **asked)) == found


@pytest.mark.parametrize("asked", [{}, {"accelerator": "none"}, {"cpus": "2+"}])
def test_without_an_accelerator_asked_for_there_is_none(
    small: Catalog, asked: dict[str, Any]
) -> None:
    """Nor another architecture, nor a machine that is throttled under load."""
    assert types(small, machine(**asked)) == ["dear.large", "wide.large"]


@pytest.mark.parametrize("name", ["arm.large", "credit.large", "big.metal", "waiting.metal"])
def test_by_its_name_one_gets_any_type(small: Catalog, name: str) -> None:
    assert types(small, machine(instance_type=name)) == [name]


def test_a_named_type_must_still_be_large_enough(small: Catalog) -> None:
    assert types(small, machine(instance_type="arm.large", cpus="4+")) == []


def test_several_machines_are_satisfied_together(small: Catalog) -> None:
    """A node that asks for no accelerator may have one."""
    assert types(small, machine(accelerator="L4:1"), machine(cpus="8+")) == ["small.xlarge"]
    assert types(small, machine(accelerator="L4:1"), machine(accelerator="A100:8")) == []
    named = machine(instance_type="arm.large"), machine(instance_type="big.metal")
    assert types(small, *named) == []


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ({"accelerator": "A100:4"}, ["A100:8 (big.metal)", "A100-80GB:8 (bigger.metal)"]),
        ({"accelerator": "A100-80GB:1"}, ["A100-80GB:8 (bigger.metal)", "A100:8 (big.metal)"]),
        ({"accelerator": "V100:1"}, ["V100-32GB:8 (v.metal)"]),
        ({"accelerator": "H100:8"}, ["H200:8 (waiting.metal)", "A100:8 (big.metal)"]),
        ({"accelerator": "tpu-v5e:16"}, []),
        ({"instance_type": "big.mettal"}, ["A100:8 (big.metal)", "A100-80GB:8 (bigger.metal)"]),
        ({"instance_type": "xyz"}, []),
        ({"cpus": "1000+"}, []),
    ],
)
def test_what_is_nearest_to_the_impossible(
    small: Catalog, asked: dict[str, Any], near: list[str]
) -> None:
    found = [str(each) for each in small.nearest(machine(**asked))]
    assert found[: len(near)] == near
    assert bool(found) == bool(near)
    assert len(found) <= 3


def test_a_name_stands_for_its_variants(small: Catalog) -> None:
    assert small.variants("a100") == ["A100", "A100-80GB"]
    assert small.variants("v100") == ["V100-32GB"]
    assert small.variants("A100-40GB") == ["A100"]
    assert small.variants("") == []
