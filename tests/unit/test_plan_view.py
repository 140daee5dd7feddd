"""What `llmcloud plan` says of the offers to fall back on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from llmcloud.cli import plan as view
from llmcloud.cli.plan import alternatives
from llmcloud.core import plan as plans
from llmcloud.core.errors import SpecError
from llmcloud.core.home import Home
from llmcloud.core.plan import Plan
from llmcloud.core.provider import Offer
from llmcloud.core.spec.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.spec.load import LoadedSpec


def offer(region: str, price: float, **changed: Any) -> Offer:
    return Offer("aws", "vm", region, "g6.xlarge", 4, 16 << 30, price, **changed)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], ""),
        ([offer("a", 0.25, spot=True)], "g6.xlarge in a (spot, up to $0.50 an hour)"),
        (
            [offer("a", 0.25, spot=True, most_usd_per_hour=0.6)],
            "g6.xlarge in a (spot, $0.50 an hour)",
        ),
        (
            [offer("a", 1.0), offer("b", 2.0), offer("c", 3.0)],
            ("\n" + " " * 9).join(
                f"g6.xlarge in {each} (on demand, ${price}.00 an hour)"
                for each, price in (("a", 2), ("b", 4), ("c", 6))
            ),
        ),
        (
            [offer(each, 1.0) for each in "abcdefgh"],
            "".join(f"g6.xlarge in {each} (on demand, $2.00 an hour)\n         " for each in "abc")
            + "… and 5 more, up to $2.00 an hour",
        ),
    ],
)
def test_a_few_alternatives_are_shown_and_the_rest_counted(others: list[Offer], said: str) -> None:
    """With the price of all nodes, here two."""
    made = Plan(offer("z", 1.0), tuple(others), (), 2, 2.0, None)
    assert alternatives(made) == said


def test_a_plan_tells_the_memory_as_it_is_sold_and_what_it_can_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded, made = planned(tmp_path, "instance_type: m7i.large", "{max_duration: 10h}")
    view.show(loaded, made, as_json=False, requests=False)
    said = capsys.readouterr().out
    assert "1 x m7i.large (2 CPUs, 8 GiB)" in said
    assert "$0.10 an hour, at most $1.01\n" in said
    assert "10h max_duration, 0 retries\n" in said


def test_a_price_that_is_not_known_is_not_told_as_if_it_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --refresh there is none of spot machines, and none of a training service's ever."""
    loaded, made = planned(tmp_path, "instance_type: m7i.large, spot: true", "{max_duration: 10h}")
    view.show(loaded, made, as_json=False, requests=False)
    assert "up to $0.10 an hour for spot, at most $1.01\n" in capsys.readouterr().out
    of_a_service = replace(made, offer=replace(made.offer, spot=False, service="managed"))
    view.show(loaded, of_a_service, as_json=False, requests=False)
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("price    $0.10 an hour, at most $1.01")
    assert lines[at + 1] == "         as machines of your own; the training service takes more"


def test_a_plan_without_a_limit_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded, made = planned(tmp_path, "instance_type: m7i.large", "{retries: 1}")
    view.show(loaded, made, as_json=False, requests=False)
    said = capsys.readouterr().out
    assert "an hour, with no end to it: set limits.max_duration\n" in said
    assert "no max_duration, 1 retry\n" in said


def test_no_machine_is_in_a_plan_that_could_cost_more_than_the_limit(tmp_path: Path) -> None:
    """Nor to fall back on."""
    _, open_ended = planned(tmp_path, "cpus: 2+", "{max_duration: 10h}")
    _, made = planned(tmp_path, "cpus: 2+", "{max_duration: 10h, max_cost: 2}")
    assert max(each.price_usd_per_hour for each in open_ended.alternatives) > 0.2
    dearest = max(each.price_usd_per_hour for each in made.alternatives)
    assert made.offer.price_usd_per_hour < dearest <= 0.2


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("{max_duration: 10h, max_cost: 1}", "could cost $1.01, the limit is $1.00"),
        ("{max_cost: 1}", "could cost any amount"),
    ],
)
def test_a_job_that_nothing_is_cheap_enough_for_is_refused(
    tmp_path: Path, limits: str, said: str
) -> None:
    with pytest.raises(SpecError) as refused:
        planned(tmp_path, "instance_type: m7i.large", limits)
    assert said in refused.value.problems[0].message
    verb = "Lower" if "max_duration" in limits else "Set"
    assert refused.value.problems[0].hint.startswith(f"{verb} limits.max_duration")


def planned(folder: Path, machine: str, limits: str) -> tuple[LoadedSpec, Plan]:
    text = f"name: x\nprovider: aws\nrun: ls\nresources: {{{machine}}}\nlimits: {limits}\n"
    (folder / "job.yaml").write_text(text)
    loaded = load(folder / "job.yaml", overrides=[], environ={})
    return loaded, plans.make(loaded, Home(folder, folder / "config.yaml"), "x-222222")[0]
