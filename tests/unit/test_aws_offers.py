"""The catalog of AWS, against EC2's own description of its machines, and what jobs get of it."""

from __future__ import annotations

import csv
import functools
import gzip
import itertools
import json
from datetime import date
from pathlib import Path
from typing import Any

import moto.ec2
import pytest
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

from llmcloud.core import catalog
from llmcloud.core.catalog import Price
from llmcloud.core.errors import NotOffered
from llmcloud.core.home import Home
from llmcloud.core.spec.models import JobSpec
from llmcloud.providers.aws import offers

RESOURCES = Path(moto.ec2.__file__).parent / "resources"
CATALOG = catalog.read(offers.FOLDER / "machines.csv", offers.PRICES)
MIB = 1 << 20
TYPES: dict[str, Any] = json.loads(
    gzip.decompress((RESOURCES / "instance_types.json.gz").read_bytes())
)

# Where EC2's answer is not what AWS's page of the machine says, or its name is no name for a file.
NAMES = {"A100-80GB": "A100", "RTXPRO6000": "RTX PRO Server 6000"}
TRAINIUM2_GIB = 96


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Have no prices but the packaged ones."""
    monkeypatch.setenv("LLMCLOUD_HOME", str(tmp_path))
    return Home(tmp_path, tmp_path / "config.yaml")


@functools.cache
def offered() -> dict[str, set[str]]:
    """Return the types of each region."""
    folder = RESOURCES / "instance_type_offerings" / "region"
    return {
        file.name.partition(".")[0]: {
            each["InstanceType"] for each in json.loads(gzip.decompress(file.read_bytes()))
        }
        for file in folder.iterdir()
    }


def lines(name: str) -> list[list[str]]:
    text = (offers.FOLDER / name).read_text()
    rows = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    return list(rows)[1:]


def spec(*, region: list[str] | None = None, **resources: Any) -> JobSpec:
    document = {"name": "a", "provider": "aws", "run": "true", "region": region}
    return JobSpec.model_validate({**document, "resources": resources})


def first(**asked: Any) -> tuple[str, str | None, float, bool]:
    its = offers.offers(spec(**asked))[0]
    return its.instance_type, its.region, its.price_usd_per_hour, its.spot


@pytest.mark.parametrize("listing", CATALOG.listings, ids=lambda each: each.instance_type)
def test_a_machine_is_what_ec2_describes(listing: Any) -> None:
    its = TYPES[listing.instance_type]
    assert listing.vcpus == its["VCpuInfo"]["DefaultVCpus"]
    assert listing.memory_bytes == its["MemoryInfo"]["SizeInMiB"] * MIB
    assert [listing.architecture] == its["ProcessorInfo"]["SupportedArchitectures"]
    assert listing.is_burstable == its["BurstablePerformanceSupported"]
    network = its["NetworkInfo"]
    assert listing.rdma_interfaces == network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0)
    assert listing.network_cards == network["MaximumNetworkCards"]


@pytest.mark.parametrize("listing", CATALOG.listings, ids=lambda each: each.instance_type)
def test_a_machine_has_the_accelerators_that_ec2_describes(listing: Any) -> None:
    its = TYPES[listing.instance_type]
    kinds = its.get("GpuInfo", {}).get("Gpus") or its.get("NeuronInfo", {}).get("NeuronDevices")
    if not kinds:
        assert (listing.accelerator, listing.accelerators) == (None, 0)
        return
    (kind,) = kinds
    assert NAMES.get(listing.accelerator, listing.accelerator) == kind["Name"]
    assert listing.accelerators == kind["Count"]
    is_trainium2 = kind["Name"] == "Trainium2"
    size_mib = TRAINIUM2_GIB * 1024 if is_trainium2 else kind["MemoryInfo"]["SizeInMiB"]
    assert listing.accelerator_memory_bytes == size_mib * MIB


@pytest.mark.parametrize("listing", CATALOG.listings, ids=lambda each: each.instance_type)
def test_a_machine_is_offered_in_the_regions_that_it_names(listing: Any) -> None:
    assert all(listing.instance_type in offered()[region] for region in listing.regions)
    assert set(listing.prices) <= set(listing.regions)


@pytest.mark.parametrize("name", ["machines.csv", "prices.csv"])
def test_a_file_is_sorted_and_says_nothing_twice(name: str) -> None:
    keys = [tuple(row[: 1 if name == "machines.csv" else 2]) for row in lines(name)]
    assert keys == sorted(set(keys))


def test_each_price_is_of_a_machine_that_is_listed_and_could_be_one() -> None:
    known = {each.instance_type for each in CATALOG.listings}
    for instance_type, region, price in lines("prices.csv"):
        assert instance_type in known
        assert 0.01 < float(price) < 500, (instance_type, region)


def test_prices_of_a_family_differ_between_regions_by_one_factor() -> None:
    """A slip of the pen in one of them would not."""
    for region in {region for each in CATALOG.listings for region in each.prices}:
        priced = [each for each in CATALOG.listings if {region, "us-east-1"} <= set(each.prices)]
        for family, group in itertools.groupby(priced, lambda it: it.instance_type.split(".")[0]):
            factors = [each.prices[region] / each.prices["us-east-1"] for each in group]
            assert max(factors) - min(factors) < 0.005, (family, region)


def test_the_head_of_the_prices_says_when_and_where_from() -> None:
    assert date.fromisoformat(CATALOG.date.split()[0]) <= date.today()  # noqa: DTZ011
    assert CATALOG.source == "AWS Price List"


def test_no_region_that_an_account_must_ask_for_is_tried_unasked() -> None:
    """A job that names one knows."""
    tried = {each.region for each in offers.offers(spec(accelerator="H100:8"))}
    assert "us-east-1" in tried
    assert tried.isdisjoint({"ap-southeast-3", "me-central-1", "eu-south-2"})
    known = set(RegionsAndZonesBackend.regions_opt_in_not_required)
    assert known >= offers.DEFAULT_REGIONS
    assert first(accelerator="H100:8", region=["ap-southeast-3"])[1] == "ap-southeast-3"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"accelerator": "A100:8"}, ("p4d.24xlarge", "us-west-2", 21.95764, False)),
        ({"accelerator": "h100:8"}, ("p5.48xlarge", "us-east-1", 55.04, False)),
        ({"accelerator": "T4:1"}, ("g4dn.xlarge", "us-east-1", 0.526, False)),
        ({"accelerator": "L4:1", "memory": "64GB+"}, ("g6.4xlarge", "us-east-1", 1.3232, False)),
        ({"accelerator": "trn1:16"}, ("trn1.32xlarge", "us-east-1", 21.5, False)),
        ({}, ("m7i.large", "us-east-1", 0.1008, False)),
        ({"cpus": "8+"}, ("c7i.2xlarge", "us-east-1", 0.357, False)),
        ({"cpus": 8, "memory": "32GB"}, ("m7i.2xlarge", "us-east-1", 0.4032, False)),
        ({"instance_type": "m7g.xlarge"}, ("m7g.xlarge", "us-east-1", 0.1632, False)),
        ({"instance_type": "t3.medium"}, ("t3.medium", "us-east-1", 0.0416, False)),
        ({"accelerator": "T4:1", "spot": True}, ("g4dn.xlarge", "us-east-1", 0.526, True)),
    ],
)
def test_a_job_gets_the_cheapest_that_suits(asked: dict[str, Any], found: tuple[Any, ...]) -> None:
    assert first(**asked) == found


def test_an_offer_tells_what_the_machine_is() -> None:
    its = offers.offers(spec(accelerator="A100-80GB:8"))[0]
    assert (its.provider, its.service, its.accelerator, its.accelerators) == (
        "aws",
        "vm",
        "A100-80GB",
        8,
    )
    assert (its.vcpus, its.memory_bytes) == (96, 1152 << 30)


def test_offers_go_by_the_regions_that_the_job_names() -> None:
    found = offers.offers(spec(accelerator="A10G:1", region=["eu-west-1", "us-east-1"]))
    places = [each.region for each in found]
    first = places.count("eu-west-1")
    assert places == ["eu-west-1"] * first + ["us-east-1"] * (len(places) - first)
    assert 0 < first < len(places)
    prices = [each.price_usd_per_hour for each in found]
    assert prices[:first] == sorted(prices[:first])
    assert prices[first:] == sorted(prices[first:])


def test_nothing_is_fallen_back_on_that_costs_several_times_as_much() -> None:
    """A CPU job without resources would else end up on 192 of them."""
    for machines in ({"cpus": "2+"}, {"accelerator": "A10G:1", "spot": "fallback"}):
        prices = [
            each.most_usd_per_hour or each.price_usd_per_hour
            for each in offers.offers(spec(**machines))
        ]
        assert max(prices) <= offers.DEARER * min(prices)
    found = offers.offers(spec(accelerator="A100:8"))
    assert "p4d.24xlarge" in {each.instance_type for each in found}


def test_offers_go_by_the_price_when_the_job_names_no_region() -> None:
    prices = [each.price_usd_per_hour for each in offers.offers(spec(accelerator="L4:4"))]
    assert prices == sorted(prices)


def test_fallback_tries_each_spot_offer_before_those_on_demand() -> None:
    found = offers.offers(spec(accelerator="H100:8", spot="fallback"))
    half = len(found) // 2
    assert [each.spot for each in found] == [True] * half + [False] * half
    assert [each.region for each in found[:half]] == [each.region for each in found[half:]]


def refreshed(home: Home, *prices: Price, date: str = "2999-01-01") -> None:
    catalog.write_prices(offers.refreshed(home), prices, date, "a test")


def test_prices_that_were_refreshed_count_where_they_are_newer(home: Home) -> None:
    refreshed(home, Price("g4dn.xlarge", "us-east-2", 0.25))
    assert first(accelerator="T4:1") == ("g4dn.xlarge", "us-east-2", 0.25, False)
    refreshed(home, Price("g4dn.xlarge", "us-east-2", 0.125), date="2020-01-01")
    assert first(accelerator="T4:1") == ("g4dn.xlarge", "us-east-1", 0.526, False)


@pytest.mark.parametrize("damage", ["g4dn.xlarge,us-east-1,cheap\n", "g4dn.xlarge\n", "\x00"])
def test_prices_that_are_damaged_do_not_count(home: Home, damage: str) -> None:
    refreshed(home, Price("g4dn.xlarge", "us-east-2", 0.25))
    with offers.refreshed(home).open("a") as file:
        file.write(damage)
    assert first(accelerator="T4:1")[2] in {0.526, 0.25}


def test_spot_offers_go_by_the_spot_price_and_cost_at_most_that_on_demand(home: Home) -> None:
    refreshed(
        home,
        Price("g4dn.xlarge", "us-east-1", 0.5, 0.25),
        Price("g4dn.xlarge", "us-east-2", 0.6, 0.125),
    )
    found = offers.offers(spec(accelerator="T4:1", spot="fallback"))
    said = [(each.region, each.spot, each.price_usd_per_hour) for each in found]
    assert said == [
        ("us-east-2", True, 0.125),
        ("us-east-1", True, 0.25),
        ("us-east-1", False, 0.5),
        ("us-east-2", False, 0.6),
    ]
    assert [each.most_usd_per_hour for each in found] == [0.6, 0.5, None, None]


def test_what_is_only_to_be_had_as_spot_is_offered_as_such(home: Home) -> None:
    refreshed(home, Price("p5e.48xlarge", "us-east-2", None, 12.5))
    assert first(instance_type="p5e.48xlarge", spot=True) == (
        *("p5e.48xlarge", "us-east-2", 12.5, True),
    )
    with pytest.raises(NotOffered):
        first(instance_type="p5e.48xlarge")


def test_training_jobs_are_not_offered_at_the_spot_prices_of_machines(home: Home) -> None:
    refreshed(home, Price("g4dn.xlarge", "us-east-1", 0.5, 0.25))
    document = {"name": "a", "provider": "aws", "run": "true", "service": "managed"}
    resources = {"accelerator": "T4:1", "spot": True}
    job = JobSpec.model_validate({**document, "resources": resources})
    assert offers.offers(job)[0].price_usd_per_hour == 0.5


@pytest.mark.parametrize(
    ("chief", "worker", "spots"),
    [(True, True, {True}), (True, False, {False}), ("fallback", True, {True, False})],
)
def test_roles_share_a_type_and_take_spot_only_where_all_do(
    chief: Any, worker: Any, spots: set[bool]
) -> None:
    roles = {
        "chief": {"cpus": "8+", "spot": chief},
        "worker": {"accelerator": "L4:1", "spot": worker, "count": 2},
    }
    document = {"name": "a", "provider": "aws", "run": "true", "roles": roles}
    found = offers.offers(JobSpec.model_validate(document))
    assert found[0].instance_type == "g6.2xlarge"
    assert {each.spot for each in found} == spots


@pytest.mark.parametrize(
    ("asked", "what", "fix"),
    [
        ({"accelerator": "A100-80GB:4"}, "has A100-80GB:4.", "A100-80GB:8 (p4de.24xlarge)"),
        ({"accelerator": "H100:2"}, "has H100:2.", "H100:1 (p5.4xlarge)"),
        ({"accelerator": "A10:1"}, "has A10:1.", "A10G:1 (g5.xlarge)"),
        ({"accelerator": "V100:8"}, "has V100:8.", "A100:8 (p4d.24xlarge)"),
        ({"accelerator": "tpu-v5e:16"}, "has tpu-v5e:16.", "llmcloud accelerators"),
        ({"instance_type": "p4d.24xlrage"}, "has the name p4d.24xlrage.", "(p4d.24xlarge)"),
        ({"cpus": "500+"}, "has 500+ CPUs.", "llmcloud accelerators"),
        ({"memory": "9TB+", "cpus": 3}, "has 3 CPUs, 9TB+ of memory.", "llmcloud accelerators"),
        ({"accelerator": "L4:1", "region": ["eu-west-1"]}, "in eu-west-1.", "eu-central-1"),
        ({"cpus": 2, "region": ["us-eest-1"]}, "no region us-eest-1.", "us-west-1 or us-east-1?"),
        ({"cpus": 2, "region": ["US-EAST-1"]}, "no region US-EAST-1.", "us-east-1 or "),
        ({"instance_type": "P4D.24XLARGE"}, "P4D.24XLARGE", "p4d.24xlarge"),
        ({"cpus": 2, "region": ["moon"]}, "no region moon.", "There are af-south-1, "),
        ({"cpus": "2+", "region": ["ap-east-1"]}, " and 13 more in ap-east-1.", "us-east-1"),
        ({"instance_type": "p5e.48xlarge"}, "no price on demand of H200:8", "reserved"),
    ],
)
def test_a_job_that_nothing_suits_is_told_what_is_nearest(
    asked: dict[str, Any], what: str, fix: str
) -> None:
    with pytest.raises(NotOffered) as refused:
        offers.offers(spec(**asked))
    assert what in refused.value.what
    assert fix in refused.value.fix
    assert refused.value.exit_code == 3
