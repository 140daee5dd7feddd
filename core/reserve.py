"""Names: a name stands for one live job, so that two submits never become two machines."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core.errors import UsageError
from llmcloud.runtime import layout, process, status
from llmcloud.runtime.documents import known, reading
from llmcloud.runtime.errors import Conflict, Failure, NotFound
from llmcloud.runtime.process import Identity
from llmcloud.runtime.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Compute
    from llmcloud.runtime.store import ObjectStore

ELSEWHERE_S = 600.0  # how long who reserved it on another machine is believed to be at work
RENEW_S = ELSEWHERE_S / 4
BEFORE_MACHINES = {State.SUBMITTED, State.STAGING, State.PROVISIONING}


@dataclass(frozen=True)
class Reservation:
    """Which job a name stands for, and who is submitting or resuming it.

    `digest` is of all that makes the job: spec, code, data.
    """

    job: str
    digest: str
    host: str
    pid: int
    started: int
    at_s: float

    @classmethod
    def mine(cls, job: str, digest: str) -> Reservation:
        """Return a reservation by this process."""
        me = process.identify(os.getpid())
        return cls(job, digest, socket.gethostname(), me.pid, me.started, time.time())

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Reservation:
        """Read a reservation; fields of a newer version are passed over."""
        with reading("The reservation of a name", where):
            return cls(**known(cls, json.loads(data)))

    def to_json(self) -> bytes:
        """Return the reservation as it lies in the store."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @property
    def is_held(self) -> bool:
        """Tell whether whoever made it is still at work."""
        if self.host == socket.gethostname():
            identity = Identity(self.pid, self.started)
            return identity != process.identify(os.getpid()) and identity.is_alive
        return abs(time.time() - self.at_s) < ELSEWHERE_S  # a clock may jump, either way


def reserve(store: ObjectStore, compute: Compute, name: str, wanted: Reservation) -> str:
    """Make a name stand for a job and return that job's id.

    It is another id than the wanted one when an earlier submit of the same was cut off before it
    had machines: its job is carried on. UsageError when the name's job is alive.
    """
    key = layout.name(name)
    while True:
        try:
            store.put(key, wanted.to_json(), if_absent=True)
        except Conflict:
            blob = store.get(key)
        else:
            return wanted.job
        former = Reservation.from_json(blob.data, key)
        ours = dataclasses.replace(wanted, job=_job_to_submit(store, compute, former, wanted))
        try:
            store.put(key, ours.to_json(), if_match=blob.etag)
        except Conflict:
            continue
        return ours.job


@contextlib.contextmanager
def renewed(store: ObjectStore, job: Job, every_s: float = RENEW_S) -> Iterator[None]:
    """Have it known everywhere that we are at work on a job, however long that takes."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(every_s):
            with contextlib.suppress(Failure):  # the next one may be written
                _renew(store, job)

    threading.Thread(target=renew, name="reservation", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _renew(store: ObjectStore, job: Job) -> None:
    """Write anew when we were last at work, unless the name is somebody else's by now."""
    key = layout.name(job.name)
    blob = store.get(key)
    found = Reservation.from_json(blob.data, key)
    mine = Reservation.mine(job.id, found.digest)
    if dataclasses.replace(found, at_s=mine.at_s) == mine:
        store.put(key, mine.to_json(), if_match=blob.etag)


def is_cut_off(store: ObjectStore, compute: Compute, job: Job) -> bool:
    """Tell whether a job has no machines and nobody is at work on a submit to get it some."""
    if jobs.has_machines(store, compute, job):
        return False
    key = layout.name(job.name)
    try:
        found = Reservation.from_json(store.get(key).data, key)
    except NotFound:
        return True
    return found.job != job.id or not found.is_held


def end_submit(store: ObjectStore, job_id: str) -> None:
    """End a job whose submit was cut off; without a state it never was one."""

    def lost(now: Status) -> Status:
        error = "Its submit was cut off."
        return dataclasses.replace(now, state=State.LOST, ended_at=status.now(), error=error)

    try:
        status.change(store, job_id, lost)
    except NotFound:
        if _release(store, job_id):
            store.delete(layout.job_document(job_id))


def _release(store: ObjectStore, job_id: str) -> bool:
    """Have the next submit of a job's name make a job of its own; False if one carries it on."""
    try:
        key = layout.name(jobs.read(store, job_id).name)
        blob = store.get(key)
        found = Reservation.from_json(blob.data, key)
        if found.job == job_id:
            store.put(key, dataclasses.replace(found, digest="").to_json(), if_match=blob.etag)
    except NotFound:
        return True
    except Conflict:
        return False
    return True


def _job_to_submit(
    store: ObjectStore, compute: Compute, former: Reservation, wanted: Reservation
) -> str:
    """Return the former job to carry on, or the wanted one when the former has ended."""
    state = _state(store, compute, former.job)
    if state.is_final:
        return wanted.job
    if former.is_held or state not in BEFORE_MACHINES or _has_machines(store, compute, former.job):
        raise _in_use(former.job, state.value)
    if former.digest == wanted.digest:
        return former.job
    end_submit(store, former.job)
    return wanted.job


def _state(store: ObjectStore, compute: Compute, job_id: str) -> State:
    """Return the state of a job; one that ran and has lost its machines is lost."""
    try:
        found = status.read(store, job_id)
    except NotFound:
        return State.SUBMITTED  # or about to be
    if found.state in BEFORE_MACHINES or found.provider != compute.name:
        return found.state
    return jobs.reconcile(store, job_id, compute).state


def _has_machines(store: ObjectStore, compute: Compute, job_id: str) -> bool:
    try:
        job = jobs.read(store, job_id)
    except NotFound:
        return False
    return job.provider != compute.name or jobs.has_machines(store, compute, job)


def _in_use(job: str, state: str) -> UsageError:
    return UsageError(
        f"The name is in use: {job} is {state}.",
        fix=f"llmcloud logs -f {job}, or llmcloud cancel {job}, or submit with --set name=OTHER.",
    )
