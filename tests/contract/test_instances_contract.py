"""What machines by themselves promise, whichever cloud they are of."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.waits import POLL_S, eventually

from llmcloud.core import registry
from llmcloud.core.home import Home
from llmcloud.core.instances import GLOBAL, Ask, Instance, Instances, InstanceState
from llmcloud.core.rent import Landlord, Tenancy
from llmcloud.core.spec.models import JobSpec
from llmcloud.runtime import status
from llmcloud.runtime.errors import Conflict, NoCapacity, NotFound, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulators

HOUR_S = 3600


@dataclass(frozen=True)
class Cloud:
    """What the suite asks of a provider: two types, and two regions that have the first."""

    emulator: str
    instance_type: str
    other_type: str
    regions: tuple[str, str]


CLOUDS = {"aws": Cloud("aws", "m7i.large", "m7i.xlarge", ("us-east-1", "us-west-2"))}


@dataclass
class Rig:
    """A provider, and names that are taken back at the end."""

    provider: str
    cloud: Cloud
    instances: Instances
    home: Home
    names: list[str]
    told: list[str]

    def spec(self, name: str = "", **machine: Any) -> JobSpec:
        """Return a machine that is wanted, for an hour in the first region unless said."""
        name = name or f"box-{uuid.uuid4().hex[:6]}"
        self.names.append(name)
        outside = {key: machine.pop(key) for key in ("region", "limits") if key in machine}
        return JobSpec.model_validate(
            {
                "name": name,
                "provider": self.provider,
                "run": "true",
                "region": self.cloud.regions[0],
                "resources": machine or {"instance_type": self.cloud.instance_type},
                "limits": {"max_duration": "1h"},
                "labels": {"team": "nlp"},
                **outside,
            }
        )

    def tenancy(self, spec: JobSpec) -> Tenancy:
        return Tenancy.plan(spec, registry.compute(self.provider, self.home), status.now())

    @property
    def landlord(self) -> Landlord:
        return Landlord(self.instances, self.told.append, wait=lambda _: time.sleep(POLL_S))

    def made(self, spec: JobSpec | None = None) -> Instance:
        return self.landlord.create(self.tenancy(spec or self.spec()))

    def ask(self, spec: JobSpec) -> Ask:
        tenancy = self.tenancy(spec)
        offer = tenancy.offers[0]
        return tenancy.ask(offer, self.instances.zones(offer)[0])

    def named(self, name: str) -> list[Instance]:
        return [each for each in self.instances.look().instances if each.name == name]


@pytest.fixture(params=CLOUDS)
def rig(
    request: pytest.FixtureRequest,
    emulators: Emulators,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Rig]:
    cloud = CLOUDS[request.param]
    for name, value in emulators.get(cloud.emulator).environ.items():
        monkeypatch.setenv(name, value)
    home = Home.from_env({"LLMCLOUD_HOME": str(tmp_path)})
    made = Rig(request.param, cloud, registry.instances(request.param), home, [], [])
    yield made
    for name in made.names:
        made.landlord.delete(name, made.instances.places(name))


def test_a_machine_is_as_it_was_asked_for(rig: Rig) -> None:
    spec = rig.spec()
    made = rig.made(spec)
    assert (made.name, made.provider) == (spec.name, rig.provider)
    assert (made.region, made.instance_type) == (rig.cloud.regions[0], rig.cloud.instance_type)
    assert made.labels["team"] == "nlp"
    assert made.owner
    assert made.job is None
    assert made.price_usd_per_hour
    cost = made.cost_usd(made.created_at + HOUR_S)
    assert cost == pytest.approx(made.price_usd_per_hour)
    assert made.expires_at == pytest.approx(made.created_at + HOUR_S, abs=60)


def test_a_machine_runs_and_can_be_reached(rig: Rig) -> None:
    ready = rig.landlord.await_ready(rig.made())
    assert ready.state is InstanceState.RUNNING
    assert rig.instances.is_reachable(ready)


def test_a_machine_is_listed_until_it_is_deleted(rig: Rig) -> None:
    made = rig.made()
    eventually(lambda: [each.id for each in rig.named(made.name)] == [made.id], "it is listed")
    rig.landlord.delete(made.name, rig.landlord.places(made.name))
    assert rig.named(made.name) == []
    assert rig.instances.describe(made).state is InstanceState.ENDED
    assert rig.instances.places(made.name) == frozenset()


def test_a_machine_is_found_in_whichever_region_it_is(rig: Rig) -> None:
    spec = rig.spec(region=rig.cloud.regions[1])
    made = rig.made(spec)
    assert made.region == rig.cloud.regions[1]
    assert rig.landlord.find(spec.name).id == made.id
    assert rig.instances.places(spec.name) >= {made.region}


def test_the_same_ask_twice_is_one_machine(rig: Rig) -> None:
    """Also for a process that knows nothing of the first one."""
    ask = rig.ask(rig.spec())
    first = rig.instances.create(ask)
    assert rig.instances.create(ask).id == first.id
    again = registry.instances(rig.provider)
    assert again.create(replace(ask, at=status.now())).id == first.id
    assert len(rig.named(ask.spec.name)) == 1


def test_a_name_can_be_used_again_once_its_machine_is_gone(rig: Rig) -> None:
    spec = rig.spec()
    first = rig.made(spec)
    rig.landlord.delete(spec.name, rig.landlord.places(spec.name))
    second = rig.made(spec)
    assert second.id != first.id
    assert second.state is not InstanceState.ENDED


def test_another_machine_of_the_same_name_is_a_conflict(rig: Rig) -> None:
    spec = rig.spec()
    made = rig.made(spec)
    found = rig.landlord.existing(rig.tenancy(spec))
    assert found
    assert found.id == made.id
    with pytest.raises(Conflict, match=rig.cloud.instance_type):
        rig.landlord.existing(rig.tenancy(rig.spec(spec.name, instance_type=rig.cloud.other_type)))


def test_an_unknown_name_is_told_with_those_there_are(rig: Rig) -> None:
    made = rig.made()
    with pytest.raises(NotFound) as raised:
        rig.landlord.places("none-such")
    assert made.name in raised.value.fix
    assert rig.landlord.existing(rig.tenancy(rig.spec())) is None


def test_deleting_what_is_absent_succeeds(rig: Rig) -> None:
    places = frozenset({rig.cloud.regions[0], GLOBAL})
    assert rig.instances.delete("never-there", places)


def test_a_machine_without_end_says_so(rig: Rig) -> None:
    spec = rig.spec(limits={})
    assert rig.tenancy(spec).max_cost_usd is None
    assert rig.made(spec).expires_at is None


def test_a_plan_has_the_price_until_the_end_and_plain_requests(rig: Rig) -> None:
    tenancy = rig.tenancy(rig.spec())
    requests = rig.instances.requests(tenancy.ask(tenancy.offers[0]))
    document = tenancy.to_document(requests)
    assert json.loads(json.dumps(document)) == document
    assert document["max_cost_usd"] == pytest.approx(document["price_usd_per_hour"], abs=0.01)
    assert all(each.api and each.operation for each in requests)
    assert [asdict(each) for each in requests] == document["requests"]


def test_what_nobody_has_is_no_capacity(rig: Rig) -> None:
    with pytest.raises((NoCapacity, QuotaExceeded)):
        rig.tenancy(rig.spec(accelerator="NOSUCH:8"))


def test_a_live_machine_leaves_nothing_over(rig: Rig) -> None:
    rig.landlord.await_ready(rig.made())
    assert rig.instances.leftovers() == []


def test_what_has_expired_is_left_over_until_it_is_removed(rig: Rig) -> None:
    spec = rig.spec(limits={"max_duration": "1s"})
    made = rig.made(spec)
    found = eventually(rig.instances.leftovers, "the machine has expired")
    assert all(spec.name in each.id for each in found)
    for each in found:
        eventually(lambda each=each: rig.instances.remove(each), f"{each.id} is gone")
    assert rig.instances.leftovers() == []
    assert rig.instances.describe(made).state is InstanceState.ENDED
    assert rig.instances.places(spec.name) == frozenset()
