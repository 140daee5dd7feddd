"""What a node says of itself: one small object, written every few seconds and at each change."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.documents import known, reading
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from llmcloud.runtime.store import ObjectStore

INTERVAL_S = 5.0


class Phase(str, Enum):
    """What a node is doing; the order of the members is the order of an attempt's life."""

    FETCHING = "fetching"
    SETUP = "setup"
    READY = "ready"
    RUNNING = "running"
    SAVING = "saving"
    ENDED = "ended"


class Outcome(str, Enum):
    """How a node's part in an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PREEMPTED = "preempted"
    LOST = "lost"
    STOPPED = "stopped"  # because another node's part ended


@dataclass(frozen=True)
class Heartbeat:
    """One node in one attempt; `incarnation` changes when its runtime is started anew.

    `checkpoints` are the steps it has seen, finished or not; `resume_step` is what node 0 chose
    to start from (-1: from nothing; None: not chosen yet). `saved` is false when something that
    the run left is on the node only.
    """

    rank: int
    role: str
    incarnation: str
    at: str
    phase: Phase = Phase.FETCHING
    host: str = ""
    port: int = 0
    outcome: Outcome | None = None
    exit_code: int | None = None
    error: str | None = None
    resume_step: int | None = None
    saved: bool = True
    checkpoints: tuple[int, ...] = ()
    usage: dict[str, object] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the object as it lies in the store."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str = "") -> Heartbeat:
        """Read the object; fields of a newer version are passed over."""
        with reading("The heartbeat of a node", where):
            fields = known(cls, json.loads(data))
            outcome = fields.get("outcome")
            return cls(
                **{
                    **fields,
                    "phase": Phase(fields["phase"]),
                    "outcome": Outcome(outcome) if outcome else None,
                    "checkpoints": tuple(fields.get("checkpoints", ())),
                }
            )


def read(store: ObjectStore, job: str, attempt: int, rank: int) -> Heartbeat | None:
    """Return a node's newest heartbeat; None before its first."""
    key = layout.node(job, attempt, rank)
    try:
        return Heartbeat.from_json(store.get(key).data, key)
    except NotFound:
        return None


def read_all(store: ObjectStore, job: str, attempt: int) -> dict[int, Heartbeat]:
    """Return the newest heartbeats of an attempt by rank."""
    found = {}
    for entry in store.objects(layout.nodes(job, attempt)):
        beat = Heartbeat.from_json(store.get(entry.key).data, entry.key)
        found[beat.rank] = beat
    return found


def write(store: ObjectStore, job: str, attempt: int, beat: Heartbeat) -> None:
    """Write a node's heartbeat."""
    store.put(layout.node(job, attempt, beat.rank), beat.to_json())
