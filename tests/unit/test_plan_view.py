"""What `llmcloud plan` says of the offers to fall back on."""

from __future__ import annotations

from typing import Any

import pytest

from llmcloud.cli.plan import alternatives
from llmcloud.core.plan import Plan
from llmcloud.core.provider import Offer


def offer(region: str, price: float, **changed: Any) -> Offer:
    return Offer("aws", "vm", region, "g6.xlarge", 4, 16 << 30, price, **changed)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], ""),
        ([offer("a", 0.25, spot=True)], "g6.xlarge in a (spot, $0.50 an hour)"),
        (
            [offer("a", 1.0), offer("b", 2.0), offer("c", 3.0)],
            ", ".join(
                f"g6.xlarge in {each} (on demand, ${price}.00 an hour)"
                for each, price in (("a", 2), ("b", 4), ("c", 6))
            ),
        ),
        (
            [offer(each, 1.0) for each in "abcdefgh"],
            "".join(f"g6.xlarge in {each} (on demand, $2.00 an hour), " for each in "abc")
            + "… and 5 more",
        ),
    ],
)
def test_a_few_alternatives_are_shown_and_the_rest_counted(others: list[Offer], said: str) -> None:
    """With the price of all nodes, here two."""
    made = Plan(offer("z", 1.0), tuple(others), (), 2, 2.0, None)
    assert alternatives(made) == said
