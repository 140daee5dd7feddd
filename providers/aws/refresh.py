"""What machines cost today: the Price List, and the prices of spot machines in each region.

The form of a product is of docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/
using-the-aws-price-list-bulk-api-offer-file.html; what it lacks here is passed over.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmcloud.core import catalog
from llmcloud.core.catalog import Price, Refreshed
from llmcloud.providers.aws import offers
from llmcloud.providers.aws.credentials import Account
from llmcloud.providers.aws.errors import translated
from llmcloud.runtime.errors import CredentialsError, InvalidRequest, PermissionDenied, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from llmcloud.core.catalog import Catalog
    from llmcloud.core.home import Home

AT_ONCE = 8  # more, and the Price List asks for patience
PRICE_LIST_REGION = "us-east-1"  # it is in few, and tells of all
SOURCE = "AWS Price List"
FILTERS = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
LINUX = "Linux/UNIX"


@dataclass(frozen=True)
class SpotPrices:
    """What spot machines cost in a region, by type; or why that is not known."""

    region: str
    by_type: dict[str, float]
    refusal: str = ""


def refresh(home: Home, tell: Callable[[int, int], None]) -> Refreshed:
    """Ask for all prices and keep them; `tell` is given how many requests are done, of how many."""
    account, known = Account(), offers.read()
    types = [each.instance_type for each in known.listings]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        regions = _regions(account, known)
        asked = [pool.submit(_on_demand, account, each) for each in types]
        asked_spot = [pool.submit(_spot, account, each, _types_in(known, each)) for each in regions]
        total = len(asked) + len(asked_spot)
        try:
            requests: list[Future[Any]] = [*asked, *asked_spot]
            for done, each in enumerate(requests):
                tell(done, total)
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        tell(total, total)
        on_demand = {key: usd for found in asked for key, usd in found.result().items()}
        spot = [found.result() for found in asked_spot]
    if not on_demand:
        raise Unavailable("The Price List has no price of any machine.", where=SOURCE)
    return _kept(home, on_demand, spot)


def _kept(
    home: Home, on_demand: dict[tuple[str, str], float], spot: Sequence[SpotPrices]
) -> Refreshed:
    spots = {(name, each.region): usd for each in spot for name, usd in each.by_type.items()}
    prices = [
        Price(*key, on_demand.get(key), spots.get(key)) for key in on_demand.keys() | spots.keys()
    ]
    today = datetime.now(UTC).date().isoformat()
    try:
        catalog.write_prices(offers.refreshed(home), prices, today, SOURCE)
    except OSError as error:
        raise home.unusable(error) from error
    skipped = tuple(f"{each.region}: {each.refusal}" for each in spot if each.refusal)
    return Refreshed(len(on_demand), len(spots), skipped)


def _regions(account: Account, known: Catalog) -> list[str]:
    """Return the regions that the account may use and the catalog knows."""
    with translated("the regions of the account"):
        said = account.client_of("ec2").describe_regions()["Regions"]
    listed = {region for each in known.listings for region in each.regions}
    return sorted(listed & {each["RegionName"] for each in said})


def _types_in(known: Catalog, region: str) -> list[str]:
    return [each.instance_type for each in known.listings if region in each.regions]


def _on_demand(account: Account, instance_type: str) -> dict[tuple[str, str], float]:
    """Return what a type costs, by type and region."""
    filters = [
        {"Type": "TERM_MATCH", "Field": name, "Value": value}
        for name, value in {**FILTERS, "instanceType": instance_type}.items()
    ]
    pages = account.client_of("pricing", PRICE_LIST_REGION).get_paginator("get_products")
    with translated(f"{SOURCE}, {instance_type}"):
        texts = [
            text
            for page in pages.paginate(ServiceCode="AmazonEC2", Filters=filters)
            for text in page["PriceList"]
        ]
    return dict(priced(texts))


def priced(texts: Iterable[str]) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield type and region, and USD an hour, of each product that is a machine with a price."""
    for text in texts:
        try:
            said = json.loads(text)
            attributes = said["product"]["attributes"]
            key = (str(attributes["instanceType"]), str(attributes["regionCode"]))
            usd = max(_hourly(said["terms"]["OnDemand"]))
        except (ValueError, KeyError, TypeError, AttributeError):  # it is another kind of product
            continue
        if usd > 0 and attributes.get("locationType", "AWS Region") == "AWS Region":
            yield key, usd


def _hourly(terms: dict[str, Any]) -> Iterator[float]:
    for term in terms.values():
        for dimension in term["priceDimensions"].values():
            if dimension["unit"] == "Hrs":
                yield float(dimension["pricePerUnit"]["USD"])


def _spot(account: Account, region: str, types: list[str]) -> SpotPrices:
    """Return the price of each type in the zone of a region where it is cheapest now."""
    found: dict[str, float] = {}
    pages = account.client_of("ec2", region).get_paginator("describe_spot_price_history")
    asked = {"InstanceTypes": types, "ProductDescriptions": [LINUX]}
    try:
        with translated(f"{region}, prices of spot machines"):
            for page in pages.paginate(**asked, StartTime=datetime.now(UTC)):
                for each in page["SpotPriceHistory"]:
                    usd = float(each["SpotPrice"])
                    name = each["InstanceType"]
                    found[name] = min(found.get(name, usd), usd)
    except (PermissionDenied, CredentialsError, InvalidRequest) as failure:  # here, not elsewhere
        return SpotPrices(region, {}, str(failure))
    return SpotPrices(region, found)
