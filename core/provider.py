"""What a provider of machines is to the rest of the program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmcloud.core.errors import Problem
    from llmcloud.core.job import Job
    from llmcloud.core.spec.models import JobSpec


@dataclass(frozen=True)
class Offer:
    """An instance type in a region at a price; `memory_bytes` and `vcpus` are a node's.

    A price that changes, as that of spot machines, comes to no more than `most_usd_per_hour`.
    """

    provider: str
    service: str
    region: str | None
    instance_type: str
    vcpus: int
    memory_bytes: int
    price_usd_per_hour: float
    accelerator: str | None = None
    accelerators: int = 0
    spot: bool = False
    architecture: str = ""  # of nodes that are other machines: x86_64 or arm64
    most_usd_per_hour: float | None = None


@dataclass(frozen=True)
class Request:
    """One call as it goes over the wire, in the vendor's own words."""

    api: str
    operation: str
    params: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a job's machines are, or were asked for.

    `launch` counts a job's requests for machines from 1, over all its attempts: what is named or
    tokened by it is made once, however often the same request is made.
    """

    job: str
    service: str
    region: str | None
    nodes: int
    launch: int = 1


@dataclass(frozen=True)
class Launch:
    """One request for all machines of a job, first made `at`; `secrets` are values by name."""

    job: Job
    offer: Offer
    number: int
    zone: str | None = None
    attempt: int = 1
    at: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> Place:
        """Return where the machines will be."""
        job, offer = self.job, self.offer
        return Place(job.id, offer.service, offer.region, job.task.nodes, self.number)


class MachineState(StrEnum):
    """What a provider says of a machine; UNKNOWN is no reason to act.

    COMING is promised: the provider makes one, or replaces one, as soon as it can.
    """

    COMING = "coming"
    STARTING = "starting"
    RUNNING = "running"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Machine:
    """One node's machine as the provider describes it; `since` is when it was switched on.

    Without, its provider gives up by itself what never boots. One that is gone and `is_missed`
    will not be replaced: its job can't go on.
    """

    rank: int
    id: str
    state: MachineState
    detail: str = ""
    since: str | None = None
    is_missed: bool = False

    @property
    def is_there(self) -> bool:
        """Tell whether the provider says that there is such a machine now."""
        return self.state not in {MachineState.COMING, MachineState.GONE}

    @property
    def is_gone(self) -> bool:
        """Tell whether the provider says that there is no such machine (any more)."""
        return self.state is MachineState.GONE


@dataclass(frozen=True)
class Printed:
    """A line that a machine printed, as its service has kept it."""

    rank: int
    ts_ms: int
    text: str


@dataclass(frozen=True)
class Leftover:
    """Something that a job left behind, and what it is worth knowing before it goes."""

    kind: str
    id: str
    job: str | None
    detail: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class Finding:
    """One line of `doctor`: what was looked at, whether it is well, and the fix if not.

    `ok` is None where that could not be told. `exit_code` is doctor's where it is not well.
    """

    subject: str
    ok: bool | None
    detail: str
    fix: str = ""
    exit_code: int = Failure.exit_code


class Compute(ABC):
    """Machines of one provider. Each method makes a few bounded requests and never waits.

    Raises the failures of llmcloud.runtime.errors, translated where the SDK raised.
    """

    name: ClassVar[str]
    tidies_up: ClassVar[bool] = False  # what a job has here goes with its end, asked or not
    look_every_s: ClassVar[float] = 5.0  # how often who follows a job asks for its machines

    @abstractmethod
    def refusals(self, spec: JobSpec) -> list[Problem]:
        """Return the options of a spec that this provider can't honour, by name."""

    @abstractmethod
    def offers(self, spec: JobSpec) -> list[Offer]:
        """Return what satisfies a spec, the best first; NoCapacity or QuotaExceeded if nothing."""

    @abstractmethod
    def requests(self, job: str, spec: JobSpec, offer: Offer) -> list[Request]:
        """Return the exact calls that launch would make; needs no network."""

    def store(self, offer: Offer) -> str | None:  # noqa: ARG002
        """Return the URL of the store of jobs that name none; None for the one of this machine.

        It is made when it is missing.
        """
        return None

    def prepare(self, spec: JobSpec, offer: Offer) -> None:  # noqa: B027
        """Begin to look up what a launch of this offer will ask for, while other things are done.

        What can't be had is told by the launch.
        """

    def zones(self, job: Job, offer: Offer) -> list[str | None]:  # noqa: ARG002
        """Return the parts of an offer's region to ask one after another; None is any."""
        return [None]

    @abstractmethod
    def launch(self, launch: Launch) -> list[Machine]:
        """Ask for a job's machines, and return what is known of them: the same twice is once.

        Without any, they come by themselves: `describe` tells. Raises NoCapacity or QuotaExceeded
        when another offer or zone may do, and Unavailable when the same may do in a moment.
        """

    @abstractmethod
    def describe(self, place: Place) -> list[Machine]:
        """Return what is known of a job's machines.

        Raises as `launch` does while it has become clear that they will not come.
        """

    def printed(self, place: Place) -> Iterator[Printed]:  # noqa: ARG002
        """Yield what a service has kept of what machines printed, be it a node's or not."""
        return iter(())

    def withdraw(self, place: Place) -> None:  # noqa: B027
        """Take back a request for machines that have not come, before another one is made.

        Raises Unavailable while some might come yet.
        """

    @abstractmethod
    def delete(self, place: Place) -> bool:
        """End a job's machines and what belongs to them; True once nothing of it is there.

        It is to be called again until then; what is absent is deleted already.
        """

    def stores(self) -> list[str]:
        """Return the URLs of the stores that jobs lie in which have something here."""
        return []

    @abstractmethod
    def leftovers(self, live: frozenset[str], stores: frozenset[str]) -> list[Leftover]:
        """Return what belongs to jobs of `stores` (URLs) that are not `live`.

        A job that lies in another store may be alive for all we know: what it has stays.
        """

    def closed(self) -> tuple[str, ...]:
        """Return the regions that `leftovers` passed over, as we may not look into them."""
        return ()

    @abstractmethod
    def remove(self, leftover: Leftover) -> bool:
        """Delete one leftover; True once it is gone, as `delete` does."""

    @abstractmethod
    def check(self, spec: JobSpec | None = None, *, mend: bool = False) -> list[Finding]:
        """Look at everything that a submit will need, or that of a job; mend what is harmless."""

    def policy(self) -> dict[str, Any] | None:
        """Return what an administrator has to allow whoever submits, in the cloud's own form."""
        return None
