"""Get a machine by itself, wait until it can be used, and give it back."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from llmcloud.core.errors import UsageError
from llmcloud.core.instances import GLOBAL, HOUR_S, Ask, Instance, InstanceState
from llmcloud.core.launch import insist, nowhere
from llmcloud.core.spec.fields import is_name
from llmcloud.runtime import status
from llmcloud.runtime.errors import (
    Conflict,
    Failure,
    NoCapacity,
    NotFound,
    QuotaExceeded,
    Throttled,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmcloud.core.instances import Instances
    from llmcloud.core.provider import Compute, Offer, Request
    from llmcloud.core.spec.models import JobSpec

START_TIMEOUT_S = 600.0
REACH_TIMEOUT_S = 300.0  # from running to answering
END_TIMEOUT_S = 900.0
POLL_S = 2.0


@dataclass(frozen=True)
class Tenancy:
    """A machine that is wanted since `at`, and the offers to try for it, the best first."""

    spec: JobSpec
    offers: tuple[Offer, ...]
    at: str

    @classmethod
    def plan(cls, spec: JobSpec, compute: Compute, at: str) -> Self:
        """Look up the offers, offline; UsageError for what the provider can't honour."""
        if refusals := compute.refusals(spec):
            raise UsageError(". ".join(each.message for each in refusals) + ".")
        return cls(spec, tuple(compute.offers(spec)), at)

    @property
    def max_cost_usd(self) -> float | None:
        """Return what the machine may cost until it ends itself; None without an end."""
        duration, offer = self.spec.limits.max_duration, self.offers[0]
        most = offer.most_usd_per_hour or offer.price_usd_per_hour
        return None if duration is None else round(most * duration.seconds / HOUR_S, 2)

    def ask(self, offer: Offer, zone: str | None = None) -> Ask:
        """Return the request for an offer."""
        return Ask(self.spec, offer, self.at, zone)

    def to_document(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the plan as `--dry-run --json` prints it."""
        offer = self.offers[0]
        expires = self.ask(offer).expires_epoch_s
        return {
            "name": self.spec.name,
            "offer": asdict(offer),
            "price_usd_per_hour": offer.price_usd_per_hour,
            "expires_at": None if expires is None else status.rfc3339(expires),
            "max_cost_usd": self.max_cost_usd,
            "alternatives": [asdict(each) for each in self.offers[1:]],
            "requests": [asdict(each) for each in requests],
        }


@dataclass(frozen=True)
class Landlord:
    """Who rents machines out, and how to wait for them; `tell` gets a sentence at each step."""

    instances: Instances
    tell: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep

    def find(self, name: str) -> Instance:
        """Return the machine of a name; NotFound, with those there are."""
        seen = self.instances.look()
        found = [each for each in seen.instances if each.name == name and each.is_there]
        if found:
            return min(found, key=lambda each: each.created_at)
        if seen.failures:  # it may be where we could not look
            raise seen.failures[0]
        names = ", ".join(sorted({each.name for each in seen.instances}))
        raise NotFound(
            f"There is no machine {name}.",
            where=f"provider {self.instances.provider}",
            fix=f"There are {names}." if names else "llmcloud instances create makes one.",
        )

    def existing(self, tenancy: Tenancy) -> Instance | None:
        """Return the machine of this name; Conflict when it is none of the offers."""
        spec = tenancy.spec
        try:
            found = self.find(spec.name)
        except NotFound:
            return None
        offered = {(offer.instance_type, offer.region) for offer in tenancy.offers}
        if (found.instance_type, found.region) in offered:
            return found
        raise Conflict(
            f"There is a machine {spec.name}, and it is another one: {found.instance_type} in "
            f"{found.region}.",
            fix=f"Choose another name, or: llmcloud instances delete {spec.name}",
        )

    def create(self, tenancy: Tenancy) -> Instance:
        """Return a new machine, of the first offer and zone that has one."""
        try:
            return self._anywhere(tenancy)
        except (Throttled, Unavailable):  # there may be one, for all we know
            raise
        except Failure:
            with contextlib.suppress(Failure):  # gc finds it
                self.instances.delete(tenancy.spec.name, frozenset({GLOBAL}))
            raise

    def await_ready(self, instance: Instance) -> Instance:
        """Wait until a machine runs and answers; return it, also when it does not answer."""
        self.tell(f"{instance.name}: {instance.id} in {instance.zone}, starting")
        running = self._await_running(instance)
        self.tell(f"{instance.name} boots, and can soon be reached")
        deadline = self.clock() + REACH_TIMEOUT_S
        while self.instances.is_reachable(running) is False:
            if self.clock() > deadline:
                self.tell(f"warning: {instance.name} runs, but can't be reached yet")
                break
            self.wait(POLL_S)
            running = self._await_running(running)  # it may have ended meanwhile
        return running

    def places(self, name: str) -> frozenset[str]:
        """Return where something of a name is; NotFound, with the names there are."""
        found = self.instances.places(name) if is_name(name) else frozenset()
        if not found:
            self.find(name)  # which says so
        return found

    def delete(self, name: str, places: frozenset[str]) -> None:
        """End all that there is of a name, and wait until it is gone."""
        deadline = self.clock() + END_TIMEOUT_S
        while not self.instances.delete(name, places):
            if self.clock() > deadline:
                raise Unavailable(
                    f"{name} is still ending.",
                    where=", ".join(sorted(places)),
                    fix=f"llmcloud instances delete {name}, again; or llmcloud gc.",
                )
            self.wait(POLL_S)

    def _anywhere(self, tenancy: Tenancy) -> Instance:
        refusals: list[Failure] = []
        for offer in tenancy.offers:
            try:
                return self._in_region(tenancy, offer)
            except (NoCapacity, QuotaExceeded) as refusal:
                refusals.append(refusal)
        raise nowhere(self.instances.provider, refusals)

    def _in_region(self, tenancy: Tenancy, offer: Offer) -> Instance:
        """Return a machine of an offer; when there is none, nothing is left of the attempt."""
        try:
            return self._in_a_zone(tenancy, offer)
        except Failure:
            with contextlib.suppress(Failure):  # gc finds it
                self.instances.withdraw(tenancy.spec.name, offer.region or "")
            raise

    def _in_a_zone(self, tenancy: Tenancy, offer: Offer) -> Instance:
        refusal = NoCapacity(f"No zone has {offer.instance_type}.", where=offer.region or "")
        for zone in sorted(self.instances.zones(offer), key=lambda each: each or ""):
            try:
                return self._ask(tenancy.ask(offer, zone))
            except NoCapacity as failure:
                refusal = failure
                self.tell(f"{failure} Trying what comes next.")
        raise refusal

    def _ask(self, ask: Ask) -> Instance:
        return insist(lambda: self.instances.create(ask), self.clock, self.wait, POLL_S)

    def _await_running(self, instance: Instance) -> Instance:
        deadline = self.clock() + START_TIMEOUT_S
        while (now := self.instances.describe(instance)).state is not InstanceState.RUNNING:
            if not now.is_there:
                raise Unavailable(
                    f"{instance.name} has ended: {now.detail or 'nobody says why'}.",
                    where=f"{instance.region}, {instance.id}",
                    fix=f"llmcloud instances delete {instance.name} removes what is left of it.",
                )
            if self.clock() > deadline or now.state is InstanceState.STOPPED:
                raise Unavailable(
                    f"{instance.name} is {now.state.value} and does not come up.",
                    where=f"{instance.region}, {instance.id}",
                    fix=f"It costs: llmcloud instances delete {instance.name}",
                )
            self.wait(POLL_S)
        return now
