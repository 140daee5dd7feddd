"""The Price List API, as far as EC2's and SageMaker's products on demand, and paging."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from botocore.session import Session
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from tests.rig.aws import prices
from tests.rig.aws.call import Refusal, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.aws.call import Call

PAGE = 100
EC2 = "AmazonEC2"
PUBLISHED = "2026-11-01T00:00:00Z"
NAMES = ("instanceType", "regionCode", "location", "operatingSystem", "tenancy", "preInstalledSw")
ATTRIBUTES = (*NAMES, "capacitystatus", "marketoption", "licenseModel", "operation", "vcpu")


def service() -> Service:
    """Return the service, which AWS has in a few regions only: the caller's region is not asked."""
    operations = {
        "GetProducts": get_products,
        "DescribeServices": describe_services,
        "GetAttributeValues": get_attribute_values,
    }
    return Service("pricing", "api.pricing", operations)


def get_products(call: Call) -> Any:
    """Answer the products that pass the filters, as JSON texts."""
    _check_service(call)
    filters = {each["Field"]: each["Value"] for each in call.params.get("Filters", [])}
    if strange := [each for each in filters if each not in ATTRIBUTES]:
        message = f"Filter field {strange[0]} is not one of the service's attributes."
        raise Refusal("InvalidParameterException", message)
    found = list(_products(filters))
    return {"FormatVersion": "aws_v1", **_page(call, "PriceList", found)}


def describe_services(call: Call) -> Any:
    if call.params.get("ServiceCode", EC2) != EC2:
        raise Refusal("NotFoundException", "No such service.")
    said = {"ServiceCode": EC2, "AttributeNames": sorted(ATTRIBUTES)}
    return {"FormatVersion": "aws_v1", **_page(call, "Services", [said])}


def get_attribute_values(call: Call) -> Any:
    _check_service(call)
    name = call.params["AttributeName"]
    values = {json.loads(each)["product"]["attributes"].get(name) for each in _products({})}
    found = [{"Value": each} for each in sorted(filter(None, values))]
    return _page(call, "AttributeValues", found)


def _check_service(call: Call) -> None:
    if call.params["ServiceCode"] != EC2:
        raise Refusal("NotFoundException", f"No such service: {call.params['ServiceCode']}")


def _products(filters: dict[str, str]) -> Iterator[str]:
    """Yield what there is: Linux on shared machines, on demand, in every region."""
    everywhere = INSTANCE_TYPE_OFFERINGS["region"]
    regions = [filters["regionCode"]] if "regionCode" in filters else everywhere
    for region in regions:
        for offering in INSTANCE_TYPE_OFFERINGS["region"].get(region, []):
            name = offering["InstanceType"]
            if filters.get("instanceType", name) != name or name not in INSTANCE_TYPES:
                continue
            attributes = _attributes(region, name)
            if all(attributes.get(field) == value for field, value in filters.items()):
                yield json.dumps(_product(attributes))


def _attributes(region: str, name: str) -> dict[str, str]:
    return {
        "instanceType": name,
        "regionCode": region,
        "location": LOCATIONS.get(region, region),
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "licenseModel": "No License required",
        "operation": "RunInstances",
        "vcpu": str(INSTANCE_TYPES[name]["VCpuInfo"]["DefaultVCpus"]),
        "servicecode": EC2,
    }


def _product(attributes: dict[str, str]) -> dict[str, Any]:
    """Return a product as aws_v1 has it: terms by offer and rate codes, the price as a text."""
    name = f"{attributes['instanceType']} {attributes['regionCode']}"
    sku = hashlib.sha256(name.encode()).hexdigest()[:16].upper()
    offer, rate = f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    price = f"{prices.on_demand(attributes['instanceType']):.10f}"
    dimension = {
        "rateCode": rate,
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "appliesTo": [],
        "description": f"${price} per On Demand Linux {attributes['instanceType']} Instance Hour",
        "pricePerUnit": {"USD": price},
    }
    term = {
        "sku": sku,
        "offerTermCode": "JRTCKXETXF",
        "effectiveDate": PUBLISHED,
        "priceDimensions": {rate: dimension},
        "termAttributes": {},
    }
    return {
        "product": {"productFamily": "Compute Instance", "attributes": attributes, "sku": sku},
        "serviceCode": EC2,
        "terms": {"OnDemand": {offer: term}},
        "version": "20261101000000",
        "publicationDate": PUBLISHED,
    }


def _page(call: Call, key: str, found: list[Any]) -> dict[str, Any]:
    start, size = int(call.params.get("NextToken") or 0), call.params.get("MaxResults", PAGE)
    page: dict[str, Any] = {key: found[start : start + size]}
    if start + size < len(found):
        page["NextToken"] = str(start + size)
    return page


def _locations() -> dict[str, str]:
    """Return the regions' names by their codes, as botocore's endpoints have them."""
    partition = Session().get_component("data_loader").load_data("endpoints")["partitions"][0]
    return {code: said["description"] for code, said in partition["regions"].items()}


LOCATIONS = _locations()
