"""A machine by itself: what to ask for, what is known of one, and who makes and ends them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from llmcloud.runtime import status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.core.provider import Leftover, Offer, Request
    from llmcloud.core.spec.models import JobSpec
    from llmcloud.runtime.errors import Failure

HOUR_S = 3600.0
GLOBAL = "global"  # the place of what is in no region


@dataclass(frozen=True)
class Ask:
    """One request for a machine, first made `at` (RFC 3339).

    `spec` has its name, machine, labels and, as limits.max_duration, how long it may live.
    """

    spec: JobSpec
    offer: Offer
    at: str
    zone: str | None = None

    @property
    def expires_epoch_s(self) -> float | None:
        """Return when the machine ends itself; None is never."""
        limit = self.spec.limits.max_duration
        return None if limit is None else status.epoch_s(self.at) + limit.seconds


class InstanceState(StrEnum):
    """What a provider says of a machine; ENDED is also one that it does not know any more."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    ENDING = "ending"
    ENDED = "ended"


@dataclass(frozen=True)
class Instance:
    """A machine as its provider describes it; times are seconds since the epoch.

    `job` is set where it is not a machine by itself but a job's. `detail` is why it ended.
    """

    name: str
    id: str
    provider: str
    region: str
    zone: str
    instance_type: str
    state: InstanceState
    created_at: float
    expires_at: float | None = None
    accelerator: str | None = None
    accelerators: int = 0
    spot: bool = False
    price_usd_per_hour: float | None = None
    owner: str = ""
    job: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""

    @property
    def is_there(self) -> bool:
        """Tell whether it can be used, now or soon."""
        return self.state in {InstanceState.STARTING, InstanceState.RUNNING, InstanceState.STOPPED}

    def cost_usd(self, now: float) -> float | None:
        """Return what it has cost so far, by its price; None where that is not known."""
        if self.price_usd_per_hour is None:
            return None
        return self.price_usd_per_hour * max(0.0, now - self.created_at) / HOUR_S


@dataclass(frozen=True)
class Seen:
    """The machines of an account, and why some of its regions could not be looked at."""

    instances: tuple[Instance, ...]
    failures: tuple[Failure, ...] = ()


class Instances(ABC):
    """Machines by themselves of one provider; each has a name that is the account's own.

    Each method but `connect` makes a few bounded requests and never waits. Offers are those of the
    provider's Compute, whose leftovers have these among them. Raises the failures of
    llmcloud.runtime.errors.
    """

    provider: ClassVar[str]

    @abstractmethod
    def look(self, *, with_jobs: bool = False) -> Seen:
        """Return the machines of all regions that have not ended, those of jobs if asked for."""

    @abstractmethod
    def requests(self, ask: Ask) -> list[Request]:
        """Return the exact calls that create would make; needs no network."""

    @abstractmethod
    def zones(self, offer: Offer) -> list[str | None]:
        """Return the parts of an offer's region to ask one after another; None is any."""

    @abstractmethod
    def create(self, ask: Ask) -> Instance:
        """Ask for a machine: twice, with the same name in the same zone, is once.

        Raises NoCapacity or QuotaExceeded when another offer or zone may do, and Unavailable when
        the same may do in a moment.
        """

    @abstractmethod
    def describe(self, instance: Instance) -> Instance:
        """Return what is known of a machine now."""

    @abstractmethod
    def is_reachable(self, instance: Instance) -> bool | None:
        """Tell whether one can connect to a machine; None where that can't be known."""

    @abstractmethod
    def withdraw(self, name: str, region: str) -> None:
        """Delete what was made in a region for a machine that did not come; never a machine."""

    @abstractmethod
    def places(self, name: str) -> frozenset[str]:
        """Return where something of a name is, the machine or what was made for it.

        They are regions, and GLOBAL.
        """

    @abstractmethod
    def delete(self, name: str, places: frozenset[str]) -> bool:
        """End all that there is of a name in some places; True once it is gone.

        It is to be called again until then; what is absent is deleted already.
        """

    @abstractmethod
    def connect(self, instance: Instance, command: str | None) -> int:
        """Give this terminal a shell on a machine, or run a command there; return how it ended.

        UsageError where a program that this takes is missing, with how to install it.
        """

    @abstractmethod
    def leftovers(self) -> list[Leftover]:
        """Return what has expired, and what was made for machines that are not there."""

    @abstractmethod
    def remove(self, leftover: Leftover) -> bool:
        """Delete one leftover; True once it is gone."""
