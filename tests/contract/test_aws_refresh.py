"""`llmcloud accelerators --refresh`, against the miniature AWS's Price List and spot history."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from llmcloud.cli.app import app
from llmcloud.core.home import Home
from llmcloud.providers.aws import offers, refresh
from llmcloud.providers.aws.credentials import Account
from llmcloud.runtime.errors import PermissionDenied, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rig.aws.remote import Remote


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / "config.yaml")


def put_policy(*statements: dict[str, Any]) -> None:
    """Let the user do everything but what these deny."""
    all_else = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [all_else, *statements]}
    Account().client_of("iam").put_user_policy(
        UserName="submitter", PolicyName="all", PolicyDocument=json.dumps(document)
    )


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["accelerators", *arguments])


def test_prices_are_those_of_today(remote: Remote, home: Home) -> None:
    remote.post("spot-prices", region="us-east-2", instance_type="g6.xlarge", usd_per_hour=0.0625)
    told: list[tuple[int, int]] = []
    done = refresh.refresh(home, lambda *each: told.append(each))
    assert [each for each, _ in told] == list(range(told[0][1] + 1))
    found = offers.read()
    assert found.date == datetime.now(UTC).date().isoformat()
    g6 = found.find("g6.xlarge")
    assert g6
    assert g6.prices["us-east-1"] == 4 * 0.05 + 1.25  # see the rig's prices
    assert g6.spot_prices["us-east-2"] == 0.0625
    assert set(g6.spot_prices) <= set(g6.regions)
    assert done.prices == sum(len(each.prices) for each in found.listings)
    assert done.spot_prices == sum(len(each.spot_prices) for each in found.listings)
    assert done.skipped == ()


def test_the_command_lists_what_it_has_learned(remote: Remote) -> None:
    remote.post("spot-prices", region="us-east-2", instance_type="g6.xlarge", usd_per_hour=0.0625)
    done = command("L4:1", "--refresh", "--region", "us-east-2")
    assert done.exit_code == 0, done.output
    assert "prices on demand" in done.stderr
    head, first, *_ = done.stdout.splitlines()
    assert "SPOT FROM" in head
    assert first.split()[-3:] == ["1.45", "0.062", "us-east-2"]
    assert command("L4:1", "--region", "us-east-2").stdout == done.stdout


def test_with_json_there_is_one_document(remote: Remote) -> None:
    done = command("L4:1", "--refresh", "--json")
    assert done.exit_code == 0
    assert isinstance(json.loads(done.stdout), list)


def test_a_region_that_may_not_be_looked_at_is_left_out(remote: Remote, home: Home) -> None:
    elsewhere = {"StringEquals": {"aws:RequestedRegion": "us-east-2"}}
    put_policy({"Effect": "Deny", "Action": "ec2:*", "Resource": "*", "Condition": elsewhere})
    remote.post("knobs", enforces_iam=True)
    done = refresh.refresh(home, lambda *_: None)
    assert [each.partition(":")[0] for each in done.skipped] == ["us-east-2"]
    assert done.spot_prices > 0


def test_without_permission_the_prices_stay_as_they_were(remote: Remote, home: Home) -> None:
    put_policy({"Effect": "Deny", "Action": "pricing:*", "Resource": "*"})
    remote.post("knobs", enforces_iam=True)
    with pytest.raises(PermissionDenied, match="does not permit") as denied:
        refresh.refresh(home, lambda *_: None)
    assert "pricing:GetProducts" in denied.value.fix
    assert not offers.refreshed(home).exists()


def test_a_price_list_without_prices_changes_nothing(
    remote: Remote, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(refresh.FILTERS, "operatingSystem", "Plan 9")
    with pytest.raises(Unavailable):
        refresh.refresh(home, lambda *_: None)
    assert not offers.refreshed(home).exists()
