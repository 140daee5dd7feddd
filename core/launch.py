"""Get a job its machines: one offer and zone of its plan after another, until one has them.

What is asked for where is written down before it is asked, so that the same launch, done again by
whoever, goes on where this one was cut off and makes nothing twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from llmcloud.core import tidy
from llmcloud.core.errors import JobCancelled
from llmcloud.core.provider import Launch, MachineState
from llmcloud.runtime import journal, layout, status
from llmcloud.runtime.errors import Failure, NoCapacity, QuotaExceeded, Throttled, Unavailable
from llmcloud.runtime.journal import Stage
from llmcloud.runtime.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Compute, Machine, Offer
    from llmcloud.runtime.journal import Resource
    from llmcloud.runtime.store import ObjectStore

Asked = TypeVar("Asked")
ASK_TIMEOUT_S = 120.0  # for what was just made to be known everywhere in a cloud
MACHINES_TIMEOUT_S = 600.0  # for a group that promised machines to have some
POLL_S = 1.0
PLACES = 4  # that an error names, of those where there was nothing


@dataclass
class Launcher:
    """All that a launch works with; `tell` hears what is asked for, and where there is none."""

    store: ObjectStore
    compute: Compute
    job: Job
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    tell: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep
    _last_launch: int = field(default=0, init=False)

    def run(self, before: Status | None = None) -> None:
        """Start the job's machines; a job that can't have them has failed, and says why.

        `before` is the job's status, where that is known. Nothing is left of a failed launch but
        what can't be deleted now: `gc` looks for it again.
        """
        before = before or status.read(self.store, self.job.id)
        self._last_launch = before.launch
        try:
            self._anywhere(before)
        except Failure as failure:
            error = str(failure)
            state = State.CANCELLED if isinstance(failure, JobCancelled) else State.FAILED
            none_came = isinstance(failure, (NoCapacity, QuotaExceeded))

            def failed(now: Status) -> Status | None:
                if now.attempt != before.attempt:
                    return None
                return dataclasses.replace(
                    now,
                    state=state,
                    ended_at=status.now(),
                    launched_at=None if none_came else now.launched_at,  # what never was cost none
                    error=error,
                )

            status.change(self.store, self.job.id, failed)
            if not self.compute.tidies_up:
                with contextlib.suppress(Failure):
                    tidy.run(self.store, self.compute, self.job, clock=self.clock, wait=self.wait)
            raise

    def _anywhere(self, before: Status) -> None:
        refusals: list[Failure] = []
        for number, offer in enumerate(self.job.offers):
            if number < before.offer:
                continue
            try:
                self._in_region(number, offer, before)
            except (NoCapacity, QuotaExceeded) as refusal:
                refusals.append(refusal)
            else:
                return
        raise nowhere(self.job.provider, refusals)

    def _in_region(self, number: int, offer: Offer, before: Status) -> None:
        """Try an offer in each zone; a quota holds in all of them."""
        is_same = before.launch and before.offer == number
        if not is_same:
            self._last_launch += 1
        launch = self._last_launch
        first = (before.zone if is_same else None) or ""
        if offer.region:
            spot = " (spot)" if offer.spot else ""
            what = f"{self.job.task.nodes} x {offer.instance_type}{spot}"
            self.tell(f"{self.job.id}: asking for {what} in {offer.region}")
        refusal = NoCapacity(f"No zone has {offer.instance_type}.", where=offer.region or "")
        with ThreadPoolExecutor(1) as pool:
            intending = pool.submit(self._intend, launch, offer)
            zones = sorted(self.compute.zones(self.job, offer), key=lambda each: each or "")
            entry = intending.result()
        for zone in zones:
            if (zone or "") < first:
                continue
            now = self._begin(before.attempt, Launch(self.job, offer, launch, zone), number)
            try:
                self._in_zone(now, offer)
            except NoCapacity as failure:
                refusal = failure
                self.tell(f"{failure} Trying what comes next.")
            else:
                journal.advance(self.store, entry, Stage.CREATED)
                return
        raise refusal

    def _intend(self, launch: int, offer: Offer) -> Resource:
        job = self.job
        name = f"{job.id}-{launch}"
        return journal.intend(
            self.store,
            job.id,
            journal.MACHINES,
            name,
            job.provider,
            region=offer.region,
            launch=launch,
        )

    def _begin(self, attempt: int, launch: Launch, number: int) -> Status:
        """Write down what is asked for next; JobCancelled if it is not wanted any more."""

        def asking(now: Status) -> Status | None:
            if now.attempt != attempt:
                return None
            return dataclasses.replace(
                now,
                state=State.PROVISIONING,
                region=launch.offer.region,
                launch=launch.number,
                offer=number,
                zone=launch.zone,
                launched_at=now.launched_at if now.launch == launch.number else status.now(),
            )

        with ThreadPoolExecutor(1) as pool:
            is_cancelled = pool.submit(self.store.exists, layout.cancel(self.job.id))
            found = status.change(self.store, self.job.id, asking)
        if found.state.is_final or is_cancelled.result():
            raise self._cancelled()
        return found

    def _in_zone(self, now: Status, offer: Offer) -> None:
        """Ask for the machines, and wait until there are some, or clearly none."""
        at = now.launched_at or now.created_at
        launch = Launch(self.job, offer, now.launch, now.zone, now.attempt, at, self.secrets)
        try:
            if not insist(lambda: self.compute.launch(launch), self.clock, self.wait, POLL_S):
                self._await_machines(launch)
        except (NoCapacity, QuotaExceeded):
            # Else it might bring machines after all, that no node would need.
            insist(lambda: self.compute.withdraw(launch.place), self.clock, self.wait, POLL_S)
            raise

    def _await_machines(self, launch: Launch) -> None:
        deadline = self.clock() + MACHINES_TIMEOUT_S
        while not _came(machines := self.compute.describe(launch.place)):
            if self.store.exists(layout.cancel(self.job.id)):
                raise self._cancelled()
            if self.clock() > deadline:
                where = f"{launch.zone or launch.offer.region}, {launch.offer.instance_type}"
                why = next((f": {each.detail.rstrip('.')}" for each in machines if each.detail), "")
                raise NoCapacity(f"No machine came in {MACHINES_TIMEOUT_S:g} s{why}.", where=where)
            self.wait(POLL_S)

    def _cancelled(self) -> JobCancelled:
        return JobCancelled(f"{self.job.id} was cancelled.")


def insist(
    ask: Callable[[], Asked],
    clock: Callable[[], float],
    wait: Callable[[float], None],
    poll_s: float,
) -> Asked:
    """Make a request for machines, again if need be: what it refers to may be new."""
    deadline = clock() + ASK_TIMEOUT_S
    while True:
        try:
            return ask()
        except (Throttled, Unavailable) as failure:
            pause_s = max(poll_s, failure.asked_wait_s)
            if clock() + pause_s > deadline:
                raise
            wait(pause_s)


def _came(machines: list[Machine]) -> bool:
    """Tell whether a machine is there, or has been and will not be replaced."""
    is_coming = any(each.state is MachineState.COMING for each in machines)
    return any(each.is_there or (each.is_gone and not is_coming) for each in machines)


def nowhere(provider: str, refusals: list[Failure]) -> Failure:
    """Return why no offer of a plan could be had: the one reason, or all of them."""
    if len(refusals) == 1:
        return refusals[0]
    said = " ".join(dict.fromkeys(each.what for each in refusals))
    places = list(dict.fromkeys(each.where for each in refusals if each.where))
    shown = "; ".join([*places[:PLACES], "…"] if len(places) > PLACES else places)
    return type(refusals[-1])(
        f"None of the {len(refusals)} offers of the plan can be had. {said}",
        where=f"provider {provider}" + (shown and f": {shown}"),
        fix="Try again later, or name more regions or types.\n"
        f"llmcloud doctor {provider} FILE tells which quotas are in the way.",
    )
