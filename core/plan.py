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
    return compute.offers(loaded.spec)


def _plan(
    loaded: LoadedSpec, compute: Compute, offers: list[Offer], failures: list[Failure], job: str
) -> Plan:
    spec = loaded.spec
    nodes = len(spec.role_list())
    price = offers[0].price_usd_per_hour * nodes
    duration = spec.limits.max_duration
    most = (offers[0].most_usd_per_hour or offers[0].price_usd_per_hour) * nodes
    max_cost = round(most * duration.seconds / SECONDS_PER_HOUR, 2) if duration else None
    if price and spec.limits.max_cost is not None:
        _check_cost(loaded, max_cost, spec.limits.max_cost)
    return Plan(
        offer=offers[0],
        alternatives=tuple(offers[1:]),
        requests=tuple(compute.requests(job, spec, offers[0])),
        nodes=nodes,
        price_usd_per_hour=price,
        max_cost_usd=max_cost if price else 0.0,
        passed_over=tuple(str(failure) for failure in failures),
    )


def _check_cost(loaded: LoadedSpec, cost_usd: float | None, limit_usd: float) -> None:
    if cost_usd is None or cost_usd > limit_usd:
        could = "any amount" if cost_usd is None else f"${cost_usd:.2f}"
        problem = Problem(
            "limits.max_cost",
            f"the job could cost {could}, the limit is ${limit_usd:.2f}",
            hint="Set limits.max_duration, or raise the limit",
        )
        raise loaded.refused(problem)
