"""What `llmcloud accelerators` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from llmcloud.cli import accelerators, app
from llmcloud.core.errors import UsageError
from llmcloud.runtime.errors import NotFound

GOLDEN = Path(__file__).parent / "golden" / "accelerators"
APP = typer.Typer()
APP.command()(accelerators.accelerators)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(APP, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def documents(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(*arguments, "--json"))
    return found


@pytest.mark.parametrize(
    ("arguments", "golden"),
    [
        ((), "all.txt"),
        (("a100",), "a100.txt"),
        (("none", "--region", "eu-central-1"), "none-eu-central-1.txt"),
    ],
)
def test_the_table_is_as_it_was_looked_at(arguments: tuple[str, ...], golden: str) -> None:
    assert run(*arguments) == (GOLDEN / golden).read_text()


def test_no_line_of_the_table_is_wider_than_a_wide_terminal() -> None:
    assert max(len(line) for line in run().splitlines()) <= 100


def test_the_date_and_the_source_of_the_prices_are_told_beside_the_table() -> None:
    done = CliRunner().invoke(APP, ["T4"])
    assert "AWS Price List, 20" in done.stderr


@pytest.mark.parametrize("name", ["A100:8", "a100-80gb", "H", "V100", "trn1", "L4:4"])
def test_a_name_lists_its_variants_only(name: str) -> None:
    wanted = {
        "A100:8": {"A100", "A100-80GB"},
        "a100-80gb": {"A100-80GB"},
        "H": {"H100", "H200"},
        "V100": {"V100-32GB"},
        "trn1": {"Trainium"},
        "L4:4": {"L4"},
    }
    found = documents(name)
    assert {each["accelerator"] for each in found} == wanted[name]
    if ":" in name:
        assert {each["count"] for each in found} == {int(name.partition(":")[2])}


def test_documents_hold_the_figures_whole() -> None:
    (its,) = documents("A100-80GB", "--provider", "aws")
    regions = its.pop("regions")
    assert its.pop("prices_date").startswith("20")
    assert its == {
        "provider": "aws",
        "accelerator": "A100-80GB",
        "count": 8,
        "instance_type": "p4de.24xlarge",
        "accelerator_memory_bytes": 80 << 30,
        "vcpus": 96,
        "memory_bytes": 1152 << 30,
        "architecture": "x86_64",
        "rdma_interfaces": 4,
        "prices_usd_per_hour": {
            "ap-northeast-1": 37.6223,
            "ap-southeast-1": 32.93646,
            "eu-central-1": 34.29122,
            "il-central-1": 35.57346,
            "us-east-1": 27.44705,
            "us-west-2": 27.44705,
        },
        "prices_source": "AWS Price List",
    }
    assert set(its["prices_usd_per_hour"]) <= set(regions)


def test_a_region_leaves_what_is_there_at_its_price() -> None:
    found = documents("H100", "--region", "us-west-1")
    assert [(each["instance_type"], each["prices_usd_per_hour"]) for each in found] == [
        ("p5.48xlarge", {"us-west-1": 68.8})
    ]


@pytest.mark.parametrize(
    ("arguments", "kind", "fix"),
    [
        (("A1000",), NotFound, "Did you mean A100"),
        (("xyzzy",), NotFound, "There are A100, A100-80GB, A10G"),
        (("A100:3",), NotFound, "Did you mean A100 or A100-80GB"),
        (("B300", "--region", "eu-west-1"), NotFound, "us-east-1"),
        (("--provider", "gopher"), UsageError, "aws"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    arguments: tuple[str, ...], kind: type[Exception], fix: str
) -> None:
    with pytest.raises(kind) as refused:
        run(*arguments)
    assert fix in getattr(refused.value, "fix")  # noqa: B009


def test_it_is_one_of_the_commands() -> None:
    assert "accelerators" in app.COMMANDS
