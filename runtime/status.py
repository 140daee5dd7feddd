"""A job's state machine: one small document, changed by compare-and-swap only."""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.documents import known, reading
from llmcloud.runtime.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.runtime.store import ObjectStore


class State(str, Enum):
    """Where a job is; the order of the members is the order of an attempt's life."""

    SUBMITTED = "submitted"
    STAGING = "staging"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    PREEMPTED = "preempted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """Tell whether an attempt in this state does nothing more by itself."""
        return self in FINAL

    @property
    def _rank(self) -> int:
        return len(ORDER) if self.is_final else ORDER.index(self)


ORDER = [State.SUBMITTED, State.STAGING, State.PROVISIONING, State.RUNNING, State.PREEMPTED]
FINAL = {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST}


@dataclass(frozen=True)
class Status:
    """What is known of a job; times are RFC 3339 in UTC.

    `failures` counts the attempts that the job's own code ended (they use up `limits.retries`);
    a lost or preempted machine costs none. `ran_s` is what earlier runs took, before the last
    resume; `started_at` is of the run since then. `launch` counts the requests for machines,
    `offer` says which of the plan's offers the newest was for (0: the first), `zone` where: they
    are tried in the order of their names.
    """

    job: str
    name: str
    provider: str
    service: str
    region: str | None
    state: State
    created_at: str
    attempt: int = 1
    failures: int = 0
    started_at: str | None = None
    ended_at: str | None = None
    exit_code: int | None = None
    error: str | None = None
    ran_s: float = 0.0
    launch: int = 0
    offer: int = 0
    zone: str | None = None
    launched_at: str | None = None

    def may_become(self, other: Status) -> bool:
        """Tell whether `other` is later: a later state never gives way to an earlier one."""
        return self._progress < other._progress

    @property
    def _progress(self) -> tuple[int, int, int, str]:
        return self.attempt, self.state._rank, self.launch, self.zone or ""  # noqa: SLF001

    def to_json(self) -> bytes:
        """Return the document as it lies in the store."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str = "") -> Status:
        """Read the document; fields of a newer version are passed over."""
        with reading("The status of a job", where):
            fields = known(cls, json.loads(data))
            found = cls(**{**fields, "state": State(fields["state"])})
            _check(found)
            return found


def _check(found: Status) -> None:
    """Refuse values that nothing could be done with; within `reading`."""
    names = [found.job, found.name, found.provider, found.service]
    names += [found.region or "", found.zone or ""]
    if not "".join(names).isprintable():  # they go to terminals as they are
        raise ValueError("a name of control characters")
    operator.index(found.attempt)
    for number in (found.failures, found.launch, found.offer):
        operator.index(number)
    if not 0.0 <= found.ran_s < math.inf:
        raise ValueError("a time span that is none")
    epoch_s(found.created_at)
    if found.exit_code is not None:
        operator.index(found.exit_code)
    for time in (found.started_at, found.ended_at, found.launched_at):
        if time is not None:
            epoch_s(time)


def now() -> str:
    """Return the time of day as everything here writes it: RFC 3339, UTC, milliseconds."""
    return rfc3339(datetime.now(timezone.utc).timestamp())


def rfc3339(epoch_s: float) -> str:
    """Format seconds since the epoch."""
    time = datetime.fromtimestamp(epoch_s, timezone.utc)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_s(time: str) -> float:
    """Return the seconds since the epoch of a time that `rfc3339` wrote."""
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def read(store: ObjectStore, job_id: str) -> Status:
    """Return a job's status; NotFound when there is no such job."""
    key = layout.status(job_id)
    return Status.from_json(store.get(key).data, key)


def begin(store: ObjectStore, status: Status) -> None:
    """Write the first status of a job; Conflict when it has one."""
    store.put(layout.status(status.job), status.to_json(), if_absent=True)


def change(store: ObjectStore, job_id: str, update: Callable[[Status], Status | None]) -> Status:
    """Apply `update` to the latest status until no other writer came between.

    `update` returns None to leave things as they are. A result that is not later than what is
    there is dropped. Returns the status that then stands.
    """
    key = layout.status(job_id)
    while True:
        blob = store.get(key)
        current = Status.from_json(blob.data, key)
        wanted = update(current)
        if wanted is None or not current.may_become(wanted):
            return current
        try:
            store.put(key, wanted.to_json(), if_match=blob.etag)
        except Conflict:
            continue
        return wanted


def advance(store: ObjectStore, job_id: str, attempt: int, state: State) -> Status:
    """Bring an attempt of a job to `state`, unless it is there or further already."""
    return change(
        store,
        job_id,
        lambda now_: (
            dataclasses.replace(now_, attempt=attempt, state=state)
            if now_.attempt == attempt
            else None
        ),
    )
