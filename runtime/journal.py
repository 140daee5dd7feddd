"""What a job has asked a provider for: written before it is asked, so that nothing is forgotten.

An entry goes intent → created → deleted. One that is not deleted names something that may exist:
`gc` looks for it even if nothing else remembers the job's machines.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from llmcloud.runtime import layout, status
from llmcloud.runtime.documents import known, reading
from llmcloud.runtime.errors import Conflict

if TYPE_CHECKING:
    from llmcloud.runtime.store import ObjectStore


MACHINES = "machines"  # all that a provider starts for a job


class Stage(str, Enum):
    """How far a resource has come."""

    INTENT = "intent"
    CREATED = "created"
    DELETED = "deleted"


STAGES = list(Stage)


@dataclass(frozen=True)
class Resource:
    """One entry; `name` is what the provider finds the resource by, in `region`.

    `launch` is the job's request for machines that it was first asked for with.
    """

    key: str
    kind: str
    name: str
    provider: str
    stage: Stage
    at: str
    region: str | None = None
    launch: int = 1


def intend(
    store: ObjectStore,
    job: str,
    kind: str,
    name: str,
    provider: str,
    *,
    region: str | None = None,
    launch: int = 1,
) -> Resource:
    """Write down that something will be asked for, and return the entry, or find it written."""
    number = launch
    while True:
        key = layout.journal(job, number, kind, name)
        entry = Resource(key, kind, name, provider, Stage.INTENT, status.now(), region, launch)
        try:
            store.put(key, _to_json(entry), if_absent=True)
        except Conflict:
            entry = _from_json(store.get(key).data, key)
        if entry.stage is not Stage.DELETED:
            return entry
        number += 1


def advance(store: ObjectStore, entry: Resource, stage: Stage) -> None:
    """Write down what became of an entry; a later stage never gives way to an earlier one."""
    while True:
        blob = store.get(entry.key)
        current = _from_json(blob.data, entry.key)
        if STAGES.index(current.stage) >= STAGES.index(stage):
            return
        try:
            changed = replace(current, stage=stage, at=status.now())
            store.put(entry.key, _to_json(changed), if_match=blob.etag)
        except Conflict:
            continue
        return


def close(store: ObjectStore, job: str) -> None:
    """Write down that all that a job asked for is gone."""
    for entry in pending(store, job):
        advance(store, entry, Stage.DELETED)


def pending(store: ObjectStore, job: str) -> list[Resource]:
    """Return the entries of what may still exist."""
    return [entry for entry in read(store, job) if entry.stage is not Stage.DELETED]


def read(store: ObjectStore, job: str) -> list[Resource]:
    """Return a job's entries in the order in which they were intended."""
    keys = [entry.key for entry in store.objects(layout.journals(job))]
    return [_from_json(store.get(key).data, key) for key in keys]


def _to_json(entry: Resource) -> bytes:
    return json.dumps(asdict(entry)).encode()


def _from_json(data: bytes, key: str) -> Resource:
    with reading("The journal of a job", key):
        fields = known(Resource, json.loads(data))
        return Resource(**{**fields, "stage": Stage(fields["stage"])})
