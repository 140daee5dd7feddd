"""Names: a name stands for one live job, so that two submits never become two machines."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core.errors import UsageError
from llmcloud.runtime import layout, process, status
from llmcloud.runtime.errors import Conflict, NotFound
from llmcloud.runtime.process import Identity
from llmcloud.runtime.status import State

if TYPE_CHECKING:
    from llmcloud.runtime.store import ObjectStore

ELSEWHERE_S = 600.0  # how long a submit on another machine is believed to be at work
BEFORE_MACHINES = {State.SUBMITTED, State.STAGING, State.PROVISIONING}


@dataclass(frozen=True)
class Reservation:
    """Which job a name stands for, and who is submitting or resuming it."""

    job: str
    spec_digest: str
    host: str
    pid: int
    started: int
    at_s: float

    @classmethod
    def mine(cls, job: str, spec_digest: str) -> Reservation:
        """Return a reservation by this process."""
        me = process.identify(os.getpid())
        return cls(job, spec_digest, socket.gethostname(), me.pid, me.started, time.time())

    @property
    def is_held(self) -> bool:
        """Tell whether whoever made it is still at work."""
        if self.host == socket.gethostname():
            identity = Identity(self.pid, self.started)
            return identity != process.identify(os.getpid()) and identity.is_alive
        return time.time() - self.at_s < ELSEWHERE_S


def reserve(store: ObjectStore, name: str, wanted: Reservation) -> str:
    """Make a name stand for a job and return that job's id.

    It is another id than the wanted one when an earlier submit of the same spec was cut off
    before its machines ran: its job is carried on. UsageError when the name's job is alive.
    """
    key = layout.name(name)
    while True:
        try:
            store.put(key, _to_json(wanted), if_absent=True)
        except Conflict:
            blob = store.get(key)
        else:
            return wanted.job
        former = Reservation(**json.loads(blob.data))
        ours = dataclasses.replace(wanted, job=_job_to_submit(store, name, former, wanted))
        try:
            store.put(key, _to_json(ours), if_match=blob.etag)
        except Conflict:
            continue
        return ours.job


def is_cut_off(store: ObjectStore, name: str, job: str) -> bool:
    """Tell whether nobody is at work on a submit that has not come to its machines."""
    try:
        found = Reservation(**json.loads(store.get(layout.name(name)).data))
    except NotFound:
        return True
    return found.job != job or not found.is_held


def _job_to_submit(store: ObjectStore, name: str, former: Reservation, wanted: Reservation) -> str:
    try:
        found = status.read(store, former.job)
    except NotFound:  # cut off before its first write
        if former.is_held:
            raise _in_use(name, former.job, "being submitted") from None
        return wanted.job
    if found.state.is_final:
        return wanted.job
    if former.is_held or found.state not in BEFORE_MACHINES:
        raise _in_use(name, former.job, found.state.value)
    if former.spec_digest == wanted.spec_digest:
        return former.job
    raise _in_use(name, former.job, f"{found.state.value}, its submit was cut off")


def _in_use(name: str, job: str, state: str) -> UsageError:
    return UsageError(
        f"The name {name!r} is in use: {job} is {state}.",
        fix=f"llmcloud logs -f {job}, or llmcloud cancel {job}, or submit with --set name=OTHER.",
    )


def _to_json(reservation: Reservation) -> bytes:
    return json.dumps(dataclasses.asdict(reservation)).encode()
