"""How the texts of the Price List are read: what is no price of a machine is passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.providers.aws.refresh import priced

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["product", "attributes", "terms", "OnDemand", "unit", "instanceType"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def product(**changed: Any) -> dict[str, Any]:
    """Return a product as the Price List has it, with some of it changed."""
    attributes = {"instanceType": "g6.xlarge", "regionCode": "us-east-1"}
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": "0.8048000000"}, "appliesTo": []}
    return {
        "product": {"attributes": {**attributes, **changed.get("attributes", {})}},
        "terms": {
            "OnDemand": {
                "A.B": {"priceDimensions": {"A.B.C": {**dimension, **changed.get("price", {})}}}
            },
            "Reserved": {"A.D": {"priceDimensions": {}}},
        },
        "publicationDate": "2026-11-01T00:00:00Z",
    }


def test_a_product_has_a_price_an_hour() -> None:
    assert list(priced([json.dumps(product())])) == [(("g6.xlarge", "us-east-1"), 0.8048)]


@pytest.mark.parametrize(
    "changed",
    [
        {"price": {"unit": "Quantity"}},
        {"price": {"pricePerUnit": {"CNY": "5.0"}}},
        {"price": {"pricePerUnit": {"USD": "0.0000000000"}}},
        {"price": {"pricePerUnit": {"USD": "free"}}},
        {"attributes": {"locationType": "AWS Local Zone"}},
    ],
)
def test_what_is_no_price_of_a_machine_in_a_region_is_passed_over(changed: dict[str, Any]) -> None:
    assert list(priced([json.dumps(product(**changed)), json.dumps(product())])) == [
        (("g6.xlarge", "us-east-1"), 0.8048)
    ]


@given(st.text(max_size=20) | JSON.map(json.dumps))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert list(priced([text])) == []
