"""What a submit would do, as a value: where, with which calls, at what price. Offline and pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.core import registry
from llmcloud.core.errors import Problem, SpecError, UsageError
from llmcloud.runtime.errors import Failure, NoCapacity, QuotaExceeded

if TYPE_CHECKING:
    from llmcloud.core.home import Home
    from llmcloud.core.provider import Compute, Offer, Request
    from llmcloud.core.spec.load import LoadedSpec
    from llmcloud.core.spec.models import JobSpec

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Plan:
    """The first offer that satisfies a spec, those to fall back on, and the calls to make.

    `price_usd_per_hour` is of all nodes; `max_cost_usd` is what limits.max_duration can cost, None
    without that limit. `passed_over` says why preferred providers are not in the plan.
    """

    offer: Offer
    alternatives: tuple[Offer, ...]
    requests: tuple[Request, ...]
    nodes: int
    price_usd_per_hour: float
    max_cost_usd: float | None
    passed_over: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the plan as `plan --requests --json` prints it."""
        return {
            "offer": asdict(self.offer),
            "nodes": self.nodes,
            "price_usd_per_hour": self.price_usd_per_hour,
            "max_cost_usd": self.max_cost_usd,
            "alternatives": [asdict(offer) for offer in self.alternatives],
            "passed_over": list(self.passed_over),
            "requests": [asdict(request) for request in self.requests],
        }


def make(loaded: LoadedSpec, home: Home, job: str) -> tuple[Plan, Compute]:
    """Return the plan for a job, and the provider that it begins with.

    Raises SpecError when every provider refuses an option, NoCapacity or QuotaExceeded when none
    has such machines, UsageError when none is installed.
    """
    offers: list[Offer] = []
    chosen: Compute | None = None
    failures: list[Failure] = []
    for name in _preferred(loaded.spec):
        try:
            compute = registry.compute(name, home)
            found = _offers(loaded, compute)
        except (UsageError, SpecError, NoCapacity, QuotaExceeded) as failure:
            failures.append(failure)
            continue
        offers += found
        chosen = chosen or compute
    if chosen is None:
        raise _nowhere(failures)
    return _plan(loaded, chosen, offers, failures, job), chosen


def _nowhere(failures: list[Failure]) -> Failure:
    """Return why no provider will do: the one reason, or all, under the first one's exit code."""
    if len(failures) == 1:
        return failures[0]
    first = next((f for f in failures if not isinstance(f, SpecError)), None)
    if first is None:
        return failures[0]
    said = " ".join(str(failure) for failure in failures)
    return type(first)(f"No provider can run this. {said}", where=first.where, fix=first.fix)


def _preferred(spec: JobSpec) -> list[str]:
    names = [
        name
        for each in spec.provider
        for name in ([*registry.available()] if each == "any" else [each])
    ]
    return list(dict.fromkeys(names))


def _offers(loaded: LoadedSpec, compute: Compute) -> list[Offer]:
    refusals = compute.refusals(loaded.spec)
    if refusals:
        raise loaded.refused(*refusals)
    return _affordable(loaded, compute.offers(loaded.spec))


def _plan(
    loaded: LoadedSpec, compute: Compute, offers: list[Offer], failures: list[Failure], job: str
) -> Plan:
    spec = loaded.spec
    nodes = len(spec.role_list())
    return Plan(
        offer=offers[0],
        alternatives=tuple(offers[1:]),
        requests=tuple(compute.requests(job, spec, offers[0])),
        nodes=nodes,
        price_usd_per_hour=offers[0].price_usd_per_hour * nodes,
        max_cost_usd=_max_cost_usd(spec, offers[0]),
        passed_over=tuple(str(failure) for failure in failures),
    )


def _affordable(loaded: LoadedSpec, offers: list[Offer]) -> list[Offer]:
    """Return the offers that limits.max_cost allows; SpecError when it allows none."""
    spec, limit_usd = loaded.spec, loaded.spec.limits.max_cost
    if limit_usd is None:
        return offers
    costs = [_max_cost_usd(spec, each) for each in offers]
    found = [
        each
        for each, cost in zip(offers, costs, strict=True)
        if cost is not None and cost <= limit_usd
    ]
    if found or not offers:
        return found
    least = min((each for each in costs if each is not None), default=None)
    could, verb = ("any amount", "Set") if least is None else (f"${least:.2f}", "Lower")
    problem = Problem(
        "limits.max_cost",
        f"the job could cost {could}, the limit is ${limit_usd:.2f}",
        hint=f"{verb} limits.max_duration, or raise the limit",
    )
    raise loaded.refused(problem)


def _max_cost_usd(spec: JobSpec, offer: Offer) -> float | None:
    """Return what an offer can cost in limits.max_duration; None without that limit."""
    duration = spec.limits.max_duration
    if not offer.price_usd_per_hour:
        return 0.0
    if not duration:
        return None
    usd_per_hour = offer.most_usd_per_hour or offer.price_usd_per_hour
    nodes = len(spec.role_list())
    return round(usd_per_hour * nodes * duration.seconds / SECONDS_PER_HOUR, 2)
