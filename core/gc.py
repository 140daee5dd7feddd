"""What jobs have left behind, wherever it is: found by tag and in the store alone."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core.provider import Leftover
from llmcloud.core.reserve import is_cut_off
from llmcloud.runtime import status
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.core.provider import Compute
    from llmcloud.runtime.store import ObjectStore

KEEP_LOST_S = 7 * 86400.0  # what only a lost job's node has may be resumed from
CUT_OFF = "submit"
BEFORE_MACHINES = {State.SUBMITTED, State.STAGING}


@dataclass(frozen=True)
class Found:
    """A leftover, and who has it: a provider, or (None) the store itself."""

    leftover: Leftover
    store: ObjectStore
    compute: Compute | None = None

    def remove(self) -> None:
        """Remove it; what is gone already is removed."""
        if self.compute:
            self.compute.remove(self.leftover)
        else:
            _end_submit(self.store, self.leftover.id)


def find(stores: Sequence[ObjectStore], computes: Sequence[Compute]) -> list[Found]:
    """Return what the jobs of some stores have left behind, here and at the providers."""
    by_name = {compute.name: compute for compute in computes}
    live: set[str] = set()
    found: list[Found] = []
    for store in stores:
        alive, cut_off = _sort(store, by_name)
        live |= alive
        found += [
            Found(Leftover(CUT_OFF, job_id, job_id, "its submit was cut off"), store)
            for job_id in cut_off
        ]
    looked_at = frozenset(store.url for store in stores if store.is_there())
    for compute in computes:
        leftovers = compute.leftovers(frozenset(live), looked_at)
        found += [Found(leftover, stores[0], compute) for leftover in leftovers]
    return found


def _sort(store: ObjectStore, computes: dict[str, Compute]) -> tuple[set[str], list[str]]:
    """Return the jobs whose machines and folders must stay, and those cut off in their submit."""
    live, cut_off = set(), []
    for job_id in jobs.ids(store):
        try:
            found = status.read(store, job_id)
            if not found.state.is_final and found.provider in computes:
                found = jobs.observe(store, job_id, computes[found.provider]).status
        except NotFound:
            continue
        if found.state in BEFORE_MACHINES and is_cut_off(store, found.name, job_id):
            cut_off.append(job_id)
        elif not found.state.is_final or _is_worth_keeping(found):
            live.add(job_id)
    return live, cut_off


def _is_worth_keeping(found: Status) -> bool:
    ended_at = found.ended_at or found.created_at
    return found.state is State.LOST and time.time() - status.epoch_s(ended_at) < KEEP_LOST_S


def _end_submit(store: ObjectStore, job_id: str) -> None:
    def lost(now: Status) -> Status | None:
        error = "Its submit was cut off."
        return dataclasses.replace(now, state=State.LOST, ended_at=status.now(), error=error)

    status.change(store, job_id, lost)
