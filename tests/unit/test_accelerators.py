"""What `llmcloud accelerators` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from llmcloud.cli import accelerators, app, output
from llmcloud.core.catalog import Price, write_prices
from llmcloud.core.errors import UsageError
from llmcloud.core.home import Home
from llmcloud.providers.aws import offers
from llmcloud.runtime.errors import NotFound

GOLDEN = Path(__file__).parent / "golden" / "accelerators"
APP = typer.Typer()
APP.command()(accelerators.accelerators)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have no prices but the packaged ones."""
    monkeypatch.setenv("LLMCLOUD_HOME", str(tmp_path))
    return tmp_path


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


@pytest.mark.parametrize(
    ("columns", "left_out"), [(90, set()), (80, {"MEMORY"}), (60, {"MEMORY", "VCPUS", "EACH"})]
)
@pytest.mark.parametrize("name", ["", "none"])
def test_the_table_fits_the_terminal(
    columns: int, left_out: set[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What there is no room for is left out, not broken in the middle."""
    monkeypatch.setattr(output, "columns", lambda: columns)
    done = CliRunner().invoke(APP, [name])
    assert max(map(len, done.output.splitlines())) <= max(columns, 80)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= max(columns, 65)
    if not name:
        assert set(accelerators.HEADS) - set(lines[0].split()) == left_out


def test_what_has_no_accelerator_has_no_column_of_it() -> None:
    assert run("none").split()[:2] == ["TYPE", "VCPUS"]


def test_the_date_and_the_source_of_the_prices_are_told_beside_the_table() -> None:
    done = CliRunner().invoke(APP, ["T4"])
    assert "AWS Price List, 20" in done.stderr
    assert "no price known" not in done.stderr
    assert "no price known" in CliRunner().invoke(APP, ["Trainium2"]).stderr
    assert "--json names all" in done.stderr
    assert "--json" not in CliRunner().invoke(APP, ["T4", "--region", "us-east-1"]).stderr


@pytest.mark.parametrize("name", ["A100:8", "a100-80gb", "H", "trn1", "L4:4"])
def test_a_name_lists_its_variants_only(name: str) -> None:
    wanted = {
        "A100:8": {"A100", "A100-80GB"},
        "a100-80gb": {"A100-80GB"},
        "H": {"H100", "H200"},
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
        "spot_prices_usd_per_hour": {},
        "prices_source": "AWS Price List",
    }
    assert set(its["prices_usd_per_hour"]) <= set(regions)


def test_a_region_leaves_what_is_there_at_its_price() -> None:
    found = documents("H100", "--region", "us-west-1")
    assert [(each["instance_type"], each["prices_usd_per_hour"]) for each in found] == [
        ("p5.48xlarge", {"us-west-1": 68.8})
    ]


def test_prices_of_spot_machines_have_a_column_once_they_are_known(home: Path) -> None:
    prices = [Price("g4dn.xlarge", "us-east-1", 0.5, 0.2), Price("g6.xlarge", "us-east-1", 0.8)]
    write_prices(offers.refreshed(Home(home, home)), prices, "2999-01-02", "a test")
    text = run("T4:1")
    assert "SPOT FROM" in text
    line = next(line for line in text.splitlines() if "g4dn.xlarge" in line)
    assert line.split()[-4:-1] == ["0.500", "0.200", "us-east-1"]
    assert "SPOT FROM" not in run("L4:1")
    assert documents("T4:1")[0]["spot_prices_usd_per_hour"] == {"us-east-1": 0.2}
    assert "2999-01-02" in CliRunner().invoke(APP, ["T4"]).stderr


@pytest.mark.parametrize(
    ("arguments", "kind", "fix"),
    [
        (("A1000",), NotFound, "Did you mean A100"),
        (("xyzzy",), NotFound, "There are A100, A100-80GB, A10G"),
        (("A100:3",), NotFound, "There are A100-80GB:8 (p4de.24xlarge), A100:8 (p4d"),
        (("B300", "--region", "eu-west-1"), NotFound, "us-east-1"),
        (("--provider", "gopher"), UsageError, "aws"),
        (("--provider", "gopher", "--refresh"), UsageError, "aws"),
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
