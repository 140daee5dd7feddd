"""Machines are asked for in the plan's order; a launch that was cut off goes on where it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from llmcloud.core.errors import JobCancelled
from llmcloud.core.job import Job
from llmcloud.core.launch import Launcher
from llmcloud.core.provider import Machine, MachineState, Offer
from llmcloud.runtime import journal, layout, status
from llmcloud.runtime.errors import (
    Failure,
    InvalidRequest,
    NoCapacity,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Unavailable,
)
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.provider import Launch, Place

OFFERS = [
    Offer("aws", "vm", "east", "small", 2, 1 << 30, 0.1),
    Offer("aws", "vm", "west", "small", 2, 1 << 30, 0.2),
    Offer("gcp", "vm", "moon", "small", 2, 1 << 30, 0.3),
]
MACHINE = Machine(0, "m-0", MachineState.RUNNING)


@dataclass
class Cloud:
    """A provider with two zones a region, that answers as it is told, place by place."""

    answers: dict[str, list[Failure | list[Machine]]] = field(default_factory=dict)
    coming: list[list[Machine] | Failure] = field(default_factory=list)
    asked: list[tuple[str, int]] = field(default_factory=list)
    withdrawn: list[Place] = field(default_factory=list)
    deleted: list[Place] = field(default_factory=list)
    busy: int = 0
    tidies_up = False

    def zones(self, _: Job, offer: Offer) -> list[str | None]:
        return [f"{offer.region}-b", f"{offer.region}-a"]

    def launch(self, launch: Launch) -> list[Machine]:
        zone = launch.zone or ""
        self.asked.append((zone, launch.number))
        answer = (self.answers.get(zone) or [[MACHINE]]).pop(0)
        if isinstance(answer, Failure):
            raise answer
        return answer

    def describe(self, _: Place) -> list[Machine]:
        answer = self.coming.pop(0)
        if isinstance(answer, Failure):
            raise answer
        return answer

    def withdraw(self, place: Place) -> None:
        self.withdrawn.append(place)
        if len(self.withdrawn) <= self.busy:
            raise Unavailable("It is at work.")

    def delete(self, place: Place) -> bool:
        self.deleted.append(place)
        return True


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(tmp_path / "store")
    made.create()
    status.begin(made, Status("n-1", "n", "aws", "vm", "east", State.STAGING, status.now()))
    return made


def launcher(store: FileStore, cloud: Cloud, **more: Any) -> Launcher:
    documents = [asdict(each) for each in OFFERS]
    job = Job(
        id="n-1", name="n", provider="aws", service="vm", region="east", store=store.url,
        created_at=status.now(), spec={}, spec_digest="d", task=Task("n-1", "n", "true"),
        plan={"offer": documents[0], "alternatives": documents[1:]}, runtime="r",
    )  # fmt: skip
    seconds = iter(range(100_000))
    compute: Any = cloud
    return Launcher(store, compute, job, clock=lambda: next(seconds), wait=lambda _: None, **more)


def none() -> NoCapacity:
    return NoCapacity("Nothing here.")


def test_the_first_place_that_has_machines_is_it(store: FileStore) -> None:
    cloud = Cloud()
    launcher(store, cloud).run()
    assert cloud.asked == [("east-a", 1)]
    found = status.read(store, "n-1")
    assert (found.state, found.launch, found.offer) == (State.PROVISIONING, 1, 0)
    assert (found.region, found.zone) == ("east", "east-a")


def test_zones_come_before_regions_and_each_refusal_is_told(store: FileStore) -> None:
    cloud = Cloud({"east-a": [none()], "east-b": [none()], "west-a": [none()]})
    told: list[str] = []
    launcher(store, cloud, tell=told.append).run()
    assert cloud.asked == [("east-a", 1), ("east-b", 1), ("west-a", 2), ("west-b", 2)]
    assert [each.partition(" Trying")[0] for each in told] == [
        "n-1: asking for 1 x small in east",
        *["Nothing here."] * 2,
        "n-1: asking for 1 x small in west",
        "Nothing here.",
    ]
    assert status.read(store, "n-1").region == "west"
    assert [place.region for place in cloud.withdrawn] == ["east", "east", "west"]


def test_a_quota_holds_in_the_whole_region(store: FileStore) -> None:
    cloud = Cloud({"east-a": [QuotaExceeded("None allowed.")]})
    launcher(store, cloud).run()
    assert cloud.asked == [("east-a", 1), ("west-a", 2)]


def test_what_no_place_has_fails_the_job_with_every_reason(store: FileStore) -> None:
    cloud = Cloud(
        {
            "east-a": [QuotaExceeded("None allowed.")],
            "west-a": [none()],
            "west-b": [NoCapacity("Sold out.")],
        }
    )
    with pytest.raises(NoCapacity, match=r"None allowed.*Sold out") as raised:
        launcher(store, cloud).run()
    assert raised.value.exit_code == 5
    found = status.read(store, "n-1")
    assert found.state is State.FAILED
    assert "None allowed" in (found.error or "")
    assert found.launched_at is None  # what no place had costs nothing
    assert [place.region for place in cloud.deleted] == ["east", "west"]
    assert journal.pending(store, "n-1") == []


@pytest.mark.parametrize("failure", [InvalidRequest("No such image."), PermissionDenied("No.")])
def test_what_is_wrong_everywhere_stops_at_once(store: FileStore, failure: Failure) -> None:
    cloud = Cloud({"east-a": [failure]})
    with pytest.raises(type(failure)):
        launcher(store, cloud).run()
    assert cloud.asked == [("east-a", 1)]
    assert status.read(store, "n-1").state is State.FAILED


def test_what_may_do_in_a_moment_is_asked_for_again(store: FileStore) -> None:
    cloud = Cloud({"east-a": [Unavailable("The role is new."), [MACHINE]]})
    launcher(store, cloud).run()
    assert cloud.asked == [("east-a", 1), ("east-a", 1)]


def test_what_is_never_answered_is_given_up(store: FileStore) -> None:
    cloud = Cloud({"east-a": [Unavailable("No answer.")] * 500})
    with pytest.raises(Unavailable):
        launcher(store, cloud).run()


def test_who_asks_to_wait_for_a_day_is_not_waited_for(store: FileStore) -> None:
    refusal = Throttled("Too much.")
    refusal.asked_wait_s = 86_400.0
    made = launcher(store, Cloud({"east-a": [refusal]}))
    waited: list[float] = []
    made.wait = waited.append
    with pytest.raises(Throttled):
        made.run()
    assert sum(waited) < 600


def test_machines_that_come_by_themselves_are_waited_for(store: FileStore) -> None:
    cloud = Cloud({"east-a": [[]]}, coming=[[], [], [MACHINE]])
    launcher(store, cloud).run()
    assert cloud.coming == []


def test_machines_that_do_not_come_are_withdrawn_before_the_next_are_asked_for(
    store: FileStore,
) -> None:
    cloud = Cloud({"east-a": [[]]}, coming=[[], NoCapacity("No spot.")])
    launcher(store, cloud).run()
    assert cloud.asked == [("east-a", 1), ("east-b", 1)]
    assert [place.launch for place in cloud.withdrawn] == [1]


def test_what_can_not_be_withdrawn_yet_is_withdrawn_before_the_next_are_asked_for(
    store: FileStore,
) -> None:
    """Else both might come, and one of them wait for ever, for nothing."""
    cloud = Cloud({"east-a": [NoCapacity("No spot.")]}, busy=2)
    launcher(store, cloud).run()
    assert cloud.asked == [("east-a", 1), ("east-b", 1)]
    assert len(cloud.withdrawn) == 3


def test_what_the_provider_says_of_machines_that_never_come_is_told(store: FileStore) -> None:
    why = "It may not make the role that spot needs."
    coming = Machine(0, "group", MachineState.COMING, why)
    cloud = Cloud({"east-a": [[]]}, coming=[[coming]] * 1000)
    told: list[str] = []
    launcher(store, cloud, tell=told.append).run()
    assert f"No machine came in 600 s: {why} (east-a, small)" in told[1]


def test_who_waits_for_machines_of_a_job_that_is_cancelled_goes(store: FileStore) -> None:
    cloud = Cloud({"east-a": [[]]}, coming=[[]] * 1000)
    made = launcher(store, cloud)
    made.wait = lambda _: store.put(layout.cancel("n-1"), b"")
    with pytest.raises(JobCancelled):
        made.run()
    assert len(cloud.coming) > 990
    assert status.read(store, "n-1").state is State.CANCELLED
    assert [place.launch for place in cloud.deleted] == [1]


def test_a_launch_that_was_cut_off_goes_on_where_it_was(store: FileStore) -> None:
    """The request may have been made: the same number in the same zone finds what it made."""

    class CutOff(Cloud):
        def launch(self, launch: Launch) -> list[Machine]:
            if launch.zone == "west-b":
                raise KeyboardInterrupt
            return super().launch(launch)

    with pytest.raises(KeyboardInterrupt):
        launcher(store, CutOff({"east-a": [none()], "east-b": [none()], "west-a": [none()]})).run()
    again = Cloud()
    launcher(store, again).run()
    assert again.asked == [("west-b", 2)]


def test_a_resumed_job_begins_with_the_first_offer_and_a_new_number(store: FileStore) -> None:
    launcher(store, Cloud({"east-a": [none()], "east-b": [none()]})).run()

    def resumed(now: Status) -> Status:
        return replace(
            now, attempt=2, launch=now.launch + 1, offer=0, zone=None, launched_at=status.now()
        )

    status.change(store, "n-1", resumed)
    cloud = Cloud()
    launcher(store, cloud).run()
    assert cloud.asked == [("east-a", 3)]


def test_a_job_that_was_cancelled_gets_no_machines(store: FileStore) -> None:
    store.put(layout.cancel("n-1"), b"")
    cloud = Cloud()
    with pytest.raises(JobCancelled):
        launcher(store, cloud).run()
    assert cloud.asked == []
    assert status.read(store, "n-1").state is State.CANCELLED


def test_the_journal_tells_each_place_before_it_is_asked(store: FileStore) -> None:
    class Looks(Cloud):
        def launch(self, launch: Launch) -> list[Machine]:
            pending = journal.pending(store, "n-1")
            assert pending[-1].region == launch.offer.region
            assert pending[-1].launch == launch.number
            return super().launch(launch)

    cloud = Looks({"east-a": [QuotaExceeded("None allowed.")]})
    launcher(store, cloud).run()
    assert [entry.region for entry in journal.pending(store, "n-1")] == ["east", "west"]
