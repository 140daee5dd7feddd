"""A job as it lies in the store: the document, its state, and how it is found again."""

from __future__ import annotations

import dataclasses
import difflib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.core.errors import UsageError
from llmcloud.runtime import layout, status
from llmcloud.runtime.documents import known, reading
from llmcloud.runtime.errors import (
    CredentialsError,
    Failure,
    NoCapacity,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    StoreGone,
    Throttled,
    Unavailable,
    Unreadable,
)
from llmcloud.runtime.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmcloud.core.provider import Compute, Machine, Offer, Place
    from llmcloud.runtime.heartbeat import Heartbeat
    from llmcloud.runtime.store import ObjectStore
    from llmcloud.runtime.task import Task

ID_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # nothing that reads like something else
ID_LENGTH = 6
WITH_MACHINES = {State.PROVISIONING, State.RUNNING, State.PREEMPTED}
BOOT_S = 1800.0  # in which a machine that was switched on says something, or never will
VANISHED_S = 900.0  # a provider may forget machines that are gone, and be late to tell of new ones


@dataclass(frozen=True)
class Job:
    """A submitted job; written once. `spec` and `plan` are the documents as they were then."""

    id: str
    name: str
    provider: str
    service: str
    region: str | None
    store: str
    created_at: str
    spec: dict[str, Any]
    spec_digest: str
    plan: dict[str, Any]
    task: Task
    runtime: str

    def to_json(self) -> bytes:
        """Return the document as it lies in the store."""
        fields = {
            **vars(self),
            "job": self.id,
            "task": json.loads(self.task.to_json()),
            "format": 1,
        }
        return json.dumps(fields, indent=1).encode()

    @property
    def offers(self) -> list[Offer]:
        """Return the plan's offers that are the provider's own, in the order to ask for them."""
        from llmcloud.core.provider import Offer

        with reading("The plan of a job", layout.job_document(self.id)):
            documents = [self.plan["offer"], *self.plan.get("alternatives", ())]
            found = [Offer(**known(Offer, each)) for each in documents]
        return [each for each in found if each.provider == self.provider]

    @classmethod
    def from_json(cls, data: bytes, where: str = "") -> Job:
        """Read the document; fields of a newer version are passed over."""
        from llmcloud.runtime.task import Task

        with reading("The document of a job", where):
            fields = known(cls, json.loads(data))
            task = Task.from_json(json.dumps(fields["task"]).encode())
            return cls(**{**fields, "task": task})


@dataclass(frozen=True)
class View:
    """What is known of a job when all who know something have been asked."""

    status: Status
    machines: list[Machine]
    beats: dict[int, Heartbeat]
    price_usd_per_hour: float = 0.0
    offer: Offer | None = None


def new_id(name: str) -> str:
    """Return an id for a new job; it begins with the job's name."""
    import secrets

    return f"{name}-" + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def read(store: ObjectStore, job_id: str) -> Job:
    """Return a job's document."""
    key = layout.job_document(job_id)
    return Job.from_json(store.get(key).data, key)


def ids(store: ObjectStore) -> list[str]:
    """Return the ids of all jobs; a store that nobody has made yet has none."""
    try:
        return store.folders("jobs/")
    except StoreGone:
        return []


def find_in(
    stores: Sequence[ObjectStore], wanted: str, warn: Callable[[str], None] = lambda _: None
) -> tuple[ObjectStore, str]:
    """Return the job that `wanted` means, as `find` does, and its store.

    Of jobs in several stores it is one of just that name, and the newest. `warn` gets a sentence
    about a store that could not be asked, where another has such a job.
    """
    found: list[tuple[ObjectStore, str]] = []
    refused: Failure | None = None
    for store in stores:
        try:
            job = find(store, wanted)
        except NotFound:
            continue
        except (CredentialsError, PermissionDenied, Throttled, Unavailable) as failure:
            refused = refused or failure
        else:
            if job == wanted:  # an id is in one store only
                return store, job
            found.append((store, job))
    if not found:
        known = [] if refused else [job for store in stores for job in ids(store)]
        raise refused or _missing(wanted, known, stores)
    if refused:
        warn(f"not all stores were looked in: {refused}")
    return max(found, key=lambda each: (_name_of(each[1]) == wanted, _created_at(*each)))


def find(store: ObjectStore, wanted: str) -> str:
    """Return the id of the job that `wanted` means: an id, a name, or a unique prefix of a name.

    A name alone means its newest job. Raises NotFound or UsageError with the nearest ids.
    """
    if not wanted:  # an empty variable of a script must not mean the one job there is
        raise UsageError("The job's name is empty.", fix="`llmcloud list` shows all jobs.")
    known = ids(store)
    if wanted in known:
        return wanted
    names: dict[str, list[str]] = {}
    for job_id in known:
        names.setdefault(_name_of(job_id), []).append(job_id)
    if wanted in names:
        return _newest(store, names[wanted])
    matching = [name for name in names if name.startswith(wanted)]
    by_id = [job_id for job_id in known if job_id.startswith(wanted)]
    if len(matching) == 1:
        return _newest(store, names[matching[0]])
    if len(by_id) == 1:
        return by_id[0]
    if matching or by_id:
        candidates = ", ".join(sorted(by_id)[:8])
        raise UsageError(
            f"{wanted!r} is not one job but several: {candidates}.", fix="Give more of it."
        )
    raise _missing(wanted, known, [store])


def _missing(wanted: str, known: Sequence[str], stores: Sequence[ObjectStore]) -> NotFound:
    """Return that there is no such job, with what may have been meant."""
    names = dict.fromkeys([*map(_name_of, known), *known])
    nearest = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    hint = "`llmcloud list` shows all jobs." if known else "There are no jobs yet."
    if nearest:
        hint = f"Did you mean {' or '.join(nearest)}?"
    where = ", ".join(store.url for store in stores)
    return NotFound(f"There is no job {wanted!r}.", where=where, fix=hint)


def observe(store: ObjectStore, job_id: str, compute: Compute | None) -> View:
    """Ask all who know something of a job: the store, its nodes, the provider (as below)."""
    from llmcloud.runtime import heartbeat

    job = read(store, job_id)
    found, machines = _ask(store, job_id, compute, job)
    beats = heartbeat.read_all(store, job_id, found.attempt)
    offer = offer_of(job, found)
    return View(found, machines, beats, offer.price_usd_per_hour * job.task.nodes, offer)


def observe_status(store: ObjectStore, job_id: str, compute: Compute | None) -> Status:
    """Merge what the store says of a job with what the provider says of its machines.

    A job that should be at work and has no machine left, or misses one, is lost; a provider that
    could not be asked (`compute` None, or UNKNOWN machines) changes nothing.
    """
    return _ask(store, job_id, compute)[0]


def reconcile(store: ObjectStore, job_id: str, compute: Compute) -> Status:
    """Write down that a job is lost when it is, so that it can be resumed or replaced."""
    seen = observe_status(store, job_id, compute)

    def lost(now: Status) -> Status | None:
        return seen if now.attempt == seen.attempt and seen.state is State.LOST else None

    return status.change(store, job_id, lost)


def stage(found: Status, beats: Mapping[int, Heartbeat], nodes: int) -> str:
    """Return the state in a word; once all nodes are there, what the slowest does before it trains.

    PROVISIONING ends only where the training begins, and a setup may take longer than it.
    """
    from llmcloud.runtime.heartbeat import Phase

    if found.state is not State.PROVISIONING or len(beats) < nodes:
        return found.state.value
    return min((beat.phase for beat in beats.values()), key=list(Phase).index).value


def offer_of(job: Job, found: Status) -> Offer:
    """Return the offer that a job's machines were last asked for by."""
    offers = job.offers
    return offers[min(found.offer, len(offers) - 1)]


def place_of(job: Job, found: Status) -> Place:
    """Return where a job's machines are, or were last asked for."""
    from llmcloud.core.provider import Place

    offer = offer_of(job, found)
    return Place(job.id, offer.service, offer.region, job.task.nodes, found.launch)


def has_machines(store: ObjectStore, compute: Compute, job: Job) -> bool:
    """Tell whether the provider knows of a machine of a job that is not gone."""
    try:
        found = status.read(store, job.id)
    except NotFound:
        return False
    return any(not machine.is_gone for machine in _machines(compute, job, found))


def _ask(
    store: ObjectStore, job_id: str, compute: Compute | None, job: Job | None = None
) -> tuple[Status, list[Machine]]:
    """Return the status and the machines; `job` is its document, where that is known."""
    found = _status(store, job_id)
    if compute is None or found.state.is_final:
        return found, []
    launch, machines = found.launch, _machines(compute, job or read(store, job_id), found)
    found = _status(store, job_id)
    if found.launch != launch or not launch or found.state not in WITH_MACHINES:
        return found, machines
    if _is_lost(store, found, machines):
        detail = next((m.detail for m in machines if m.detail), "")
        some = any(not machine.is_gone for machine in machines)
        gone = "A machine of it is gone." if some else "All of its machines are gone."
        error = " ".join(part for part in (gone, detail) if part)
    elif _never_began(store, found, machines):
        error = f"None of its machines has begun within {BOOT_S / 60:g} min of being switched on."
    else:
        return found, machines
    ended_at = status.rfc3339(_last_seen_at_s(store, found))
    lost = dataclasses.replace(found, state=State.LOST, error=error, ended_at=ended_at)
    return lost, machines


def _machines(compute: Compute, job: Job, found: Status) -> list[Machine]:
    """Return what the provider says of a job's machines; nothing before any were asked for."""
    from llmcloud.core.provider import Machine, MachineState

    if not found.launch:
        return []
    try:
        return compute.describe(place_of(job, found))
    except (NoCapacity, QuotaExceeded) as refusal:  # for now: what brings machines tries again
        coming, said = MachineState.COMING, str(refusal)
        return [Machine(rank, job.id, coming, said) for rank in range(job.task.nodes)]


def _status(store: ObjectStore, job_id: str) -> Status:
    try:
        return status.read(store, job_id)
    except NotFound:
        raise NotFound(f"There is no job {job_id!r}.", where=store.url) from None


def _is_lost(store: ObjectStore, found: Status, machines: list[Machine]) -> bool:
    if not machines:  # forgotten, or not heard of yet
        return time.time() - _last_seen_at_s(store, found) > VANISHED_S
    return all(m.is_gone for m in machines) or any(m.is_gone and m.is_missed for m in machines)


def _never_began(store: ObjectStore, found: Status, machines: list[Machine]) -> bool:
    """Tell whether the machines there are had their time to boot, and no node was heard of."""
    there = [machine for machine in machines if machine.is_there]
    if not there or found.state is not State.PROVISIONING:
        return False
    booted_s = time.time() - BOOT_S
    is_old = all(each.since and status.epoch_s(each.since) < booted_s for each in there)
    return is_old and not any(store.objects(layout.nodes(found.job, found.attempt)))


def _last_seen_at_s(store: ObjectStore, found: Status) -> float:
    """Return when the newest heartbeat of a job's attempt came, or else its status was written.

    By the store's clock: what a dead machine left in a heartbeat need not be readable.
    """
    beats = store.objects(layout.nodes(found.job, found.attempt))
    entries = [store.head(layout.status(found.job)), *beats]
    return max(entry.modified_at for entry in entries)


def _name_of(job_id: str) -> str:
    return job_id.rpartition("-")[0]


def _newest(store: ObjectStore, job_ids: list[str]) -> str:
    return max(job_ids, key=lambda job_id: (_created_at(store, job_id), job_id))


def _created_at(store: ObjectStore, job_id: str) -> str:
    try:
        return status.read(store, job_id).created_at
    except (NotFound, Unreadable):
        return ""


def cost_usd(view: View, now_s: float | None = None) -> float | None:
    """Return what a job has cost so far by its plan's price; None before it had machines.

    From when they were asked for: they cost while they boot, bring code and data, and set up.
    """
    seen = view.status
    begun = dataclasses.replace(seen, started_at=seen.launched_at or seen.started_at)
    took_s = ran_s(begun, now_s)
    return None if took_s is None else round(view.price_usd_per_hour * took_s / 3600, 4)


def ran_s(seen: Status, now_s: float | None = None) -> float | None:
    """Return how long a job has run, without the pauses before a resume; None before it started."""
    if seen.started_at is None:
        return seen.ran_s or None
    end_s = status.epoch_s(seen.ended_at) if seen.ended_at else (now_s or time.time())
    return seen.ran_s + max(0.0, end_s - status.epoch_s(seen.started_at))
