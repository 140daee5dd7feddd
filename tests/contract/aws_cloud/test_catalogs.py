"""The rig has the public images, prices and quotas that AWS has, under their names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.aws.said import refusal

if TYPE_CHECKING:
    from tests.contract.aws_cloud.conftest import ClientOf
    from tests.rig.aws.remote import Remote

DLAMI = "/aws/service/deeplearning/ami"
PARAMETERS = {
    f"{DLAMI}/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id": "x86_64",
    f"{DLAMI}/arm64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id": "arm64",
    f"{DLAMI}/x86_64/oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04/latest/ami-id": "x86_64",
    "/aws/service/neuron/dlami/base/ubuntu-24.04/latest/image_id": "x86_64",
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": "x86_64",
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id": "arm64",
}
LINUX = [
    {"Type": "TERM_MATCH", "Field": "operatingSystem", "Value": "Linux"},
    {"Type": "TERM_MATCH", "Field": "tenancy", "Value": "Shared"},
    {"Type": "TERM_MATCH", "Field": "preInstalledSw", "Value": "NA"},
]


class TestAnImage:
    @pytest.mark.parametrize("name", PARAMETERS)
    def test_is_named_by_a_public_parameter_in_each_region(
        self, client_of: ClientOf, name: str
    ) -> None:
        found = set()
        for region in ("us-east-1", "eu-central-1"):
            image_id = client_of("ssm", region).get_parameter(Name=name)["Parameter"]["Value"]
            ec2 = client_of("ec2", region)
            (image,) = ec2.describe_images(ImageIds=[image_id])["Images"]
            assert image["Architecture"] == PARAMETERS[name]
            assert image["Public"]
            found.add(image_id)
        assert len(found) == 2

    def test_is_not_named_by_any_other(self, client_of: ClientOf) -> None:
        asked = {"Name": f"{DLAMI}/x86_64/windows/latest/ami-id"}
        assert refusal(client_of("ssm").get_parameter, **asked) == ("ParameterNotFound", 400)


class TestAPrice:
    def test_is_in_a_text_of_json_as_the_price_list_has_it(self, client_of: ClientOf) -> None:
        filters = [
            *LINUX,
            {"Type": "TERM_MATCH", "Field": "instanceType", "Value": "g5.xlarge"},
            {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "eu-central-1"},
        ]
        said = client_of("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)
        (text,) = said["PriceList"]
        product = json.loads(text)
        assert product["product"]["attributes"]["location"] == "Europe (Frankfurt)"
        (term,) = product["terms"]["OnDemand"].values()
        (dimension,) = term["priceDimensions"].values()
        assert dimension["unit"] == "Hrs"
        assert float(dimension["pricePerUnit"]["USD"]) > 0

    def test_comes_in_pages(self, client_of: ClientOf) -> None:
        pages = (
            client_of("pricing")
            .get_paginator("get_products")
            .paginate(
                ServiceCode="AmazonEC2",
                Filters=[
                    *LINUX,
                    {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "us-east-1"},
                ],
            )
        )
        types = [
            json.loads(each)["product"]["attributes"]["instanceType"]
            for page in pages
            for each in page["PriceList"]
        ]
        assert len(types) == len(set(types)) > 100

    def test_is_of_known_services_and_fields_only(self, client_of: ClientOf) -> None:
        pricing = client_of("pricing")
        assert refusal(pricing.get_products, ServiceCode="AmazonTea")[0] == "NotFoundException"
        filters = [{"Type": "TERM_MATCH", "Field": "colour", "Value": "red"}]
        asked = {"ServiceCode": "AmazonEC2", "Filters": filters}
        assert refusal(pricing.get_products, **asked)[0] == "InvalidParameterException"
        (service,) = pricing.describe_services(ServiceCode="AmazonEC2")["Services"]
        assert "instanceType" in service["AttributeNames"]


class TestAQuota:
    def test_is_found_by_its_code_and_in_the_list(
        self, client_of: ClientOf, remote: Remote
    ) -> None:
        """What the account has may differ from what AWS gives to each."""
        quotas = client_of("service-quotas")
        remote.post("quotas", region="us-east-1", code="L-417A185B", value=192)
        asked = {"ServiceCode": "ec2", "QuotaCode": "L-417A185B"}
        quota = quotas.get_service_quota(**asked)["Quota"]
        assert (quota["QuotaName"], quota["Value"]) == ("Running On-Demand P instances", 192)
        assert quotas.get_aws_default_service_quota(**asked)["Quota"]["Value"] == 0
        pages = quotas.get_paginator("list_service_quotas").paginate(
            ServiceCode="ec2", PaginationConfig={"PageSize": 5}
        )
        listed: dict[str, Any] = {q["QuotaCode"]: q for page in pages for q in page["Quotas"]}
        assert listed["L-417A185B"] == quota
        assert listed["L-C4BD4855"]["QuotaName"] == "All P5 Spot Instance Requests"
        asked["QuotaCode"] = "L-00000000"
        assert refusal(quotas.get_service_quota, **asked) == ("NoSuchResourceException", 400)


def test_sagemaker_is_there_as_well(client_of: ClientOf) -> None:
    asked = {"TrainingJobName": "none"}
    sagemaker = client_of("sagemaker")
    assert refusal(sagemaker.describe_training_job, **asked) == ("ValidationException", 400)


def test_what_a_service_of_ours_does_not_do_is_refused_and_reported(
    client_of: ClientOf, remote: Remote
) -> None:
    quotas = client_of("service-quotas")
    assert refusal(quotas.list_services) == ("InvalidAction", 501)
    ec2 = client_of("ec2")
    asked = {"InstanceIds": ["i-00000000000000000"]}
    assert refusal(ec2.stop_instances, **asked) == ("UnsupportedOperation", 501)
    assert remote.get("problems") == [
        "not served: servicequotas ListServices",
        "not served: ec2 StopInstances",
    ]
    remote.post("reset")
