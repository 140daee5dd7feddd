"""The program that a node runs: attempts, one after another, until the job has ended.

python -m llmcloud.runtime.node --store URL --job ID --rank N --work DIR --environments DIR

On a rented machine `--machine CLOUD` stands for what that cloud tells it: its rank, its address.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.runtime import heartbeat, layout, process, status, telemetry, verdict
from llmcloud.runtime.attempt import Attempt
from llmcloud.runtime.errors import Failure
from llmcloud.runtime.heartbeat import Heartbeat, Outcome, Phase
from llmcloud.runtime.machines import KINDS, open_machine
from llmcloud.runtime.seat import Seat
from llmcloud.runtime.status import State
from llmcloud.runtime.store import open_store
from llmcloud.runtime.supervise import Reason, Stop
from llmcloud.runtime.task import Task
from llmcloud.runtime.tenancy import Tenancy
from llmcloud.runtime.watch import Leader, Peers, Watched

if TYPE_CHECKING:
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.store import ObjectStore

POLL_S = 0.2
LEADERLESS_S = 1800.0  # how long a node waits for word from node 0, or the one that replaces it
PREEMPTED = "node 0 was preempted"


def main(argv: list[str] | None = None) -> int:
    """Take part in a job; 0 once it has ended, whatever its end, unless the machine must know."""
    options = _parse(argv)
    process.become_subreaper()
    try:
        return _take_part(options)
    except (Failure, OSError) as failure:
        print(f"{status.now()} {failure}", file=sys.stderr, flush=True)  # noqa: T201
        return Failure.exit_code


def _take_part(options: argparse.Namespace) -> int:
    store = open_store(options.store)
    document = json.loads(store.get(layout.job_document(options.job)).data)
    task = Task.from_json(json.dumps(document["task"]).encode())
    if not options.machine:
        _run(Node(_seat(options, store, task)))
        return 0
    # What an earlier incarnation has left, if it was killed: systemd ends it, others do not.
    process.kill_tagged(process.TAG, options.job)
    os.environ[process.TAG] = options.job
    machine = open_machine(options)
    options.rank, options.host = machine.rank(store, task), machine.host
    tenancy = Tenancy(machine, store, task)
    if options.rank < task.nodes:
        os.environ.update(machine.secrets(task))
        node = Node(machine.furnish(_seat(options, store, task)))
        with dataclasses.replace(tenancy, leave=node.terminate):
            _run(node)
    tenancy.end(options.rank)
    return machine.exit_code


def _run(node: Node) -> None:
    signal.signal(signal.SIGTERM, lambda *_: node.terminate())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    node.run()


class Node:
    """One node of a job, over all attempts that it lives to see."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._stop = Stop()
        self._terminated = False

    def terminate(self) -> None:
        """Save what there is and go: this machine is about to vanish."""
        self._terminated = True
        self._stop.ask(Reason.PREEMPTED)

    def run(self) -> None:
        """Take part in attempts until the job has ended or this machine must go."""
        self._seat.work.mkdir(parents=True, exist_ok=True)
        telemetry.ship_leftovers(self._seat.store, self._seat.work)
        while not (now := self._status()).state.is_final:
            if now.state is State.PREEMPTED:
                now = self._start_over(now)
            self._stop = Stop()
            if self._terminated:
                self._stop.ask(Reason.PREEMPTED)
            ending = self._ended_before(now.attempt)
            if ending is None:
                ending = Attempt(self._seat, now.attempt, self._stop, now.error).take_part()
            if ending.outcome is Outcome.LOST and self._stop.reason:
                return  # nobody is there to bring this node back, or nothing to write to
            self._settle(now.attempt, ending)
            if self._terminated:
                return

    def _status(self) -> Status:
        return status.read(self._seat.store, self._seat.task.job)

    def _start_over(self, now: Status) -> Status:
        """Begin the next attempt after a preemption: the machine, or its replacement, is back."""

        def next_attempt(current: Status) -> Status | None:
            if current.state is not State.PREEMPTED or current.attempt != now.attempt:
                return None
            return verdict.next_attempt(current)

        return status.change(self._seat.store, self._seat.task.job, next_attempt)

    def _ended_before(self, attempt: int) -> Heartbeat | None:
        """Own up to an attempt that an earlier incarnation of this node began.

        Returns None when there was none, and the node may take part in it.
        """
        seat = self._seat
        beat = heartbeat.read(seat.store, seat.task.job, attempt, seat.rank)
        if beat is not None and beat.phase is not Phase.ENDED:
            beat = dataclasses.replace(
                beat,
                incarnation=seat.incarnation,
                at=status.now(),
                phase=Phase.ENDED,
                outcome=Outcome.LOST,
            )
            heartbeat.write(seat.store, seat.task.job, attempt, beat)
        return beat

    def _settle(self, attempt: int, ending: Heartbeat) -> None:
        """Wait until it is known what comes after this attempt; node 0 decides it."""
        if self._seat.rank == 0:
            self._decide(attempt, ending)
            return
        leader = Leader()
        while not self._terminated and self._seat.parent in {None, os.getppid()}:
            now = self._status()
            if now.attempt != attempt or now.state.is_final:
                return
            first = heartbeat.read(self._seat.store, self._seat.task.job, attempt, 0)
            if leader.silent_s(first) > LEADERLESS_S:
                self._abandon(attempt)
                return
            time.sleep(POLL_S)

    def _abandon(self, attempt: int) -> None:
        """End the job for lost: else the machines that are left would wait, and cost, for ever."""

        def lost(now: Status) -> Status | None:
            if now.attempt != attempt:
                return None
            error = f"Node 0 has not been heard of for {LEADERLESS_S / 60:g} min."
            return dataclasses.replace(now, state=State.LOST, ended_at=status.now(), error=error)

        status.change(self._seat.store, self._seat.task.job, lost)

    def _decide(self, attempt: int, own: Heartbeat) -> None:
        seat = self._seat
        peers = Peers(Watched(seat.store, seat.task, attempt, seat.rank))
        deciding = {r for r, role in enumerate(seat.task.roles) if verdict.decides(r, role)}
        while True:
            beats = {**peers.refresh(), 0: own}
            ended = {rank for rank in beats if rank == 0 or peers.ended(rank)}
            if deciding <= ended | set(peers.lost()):
                break
            time.sleep(POLL_S)
        endings = [_ending(beats.get(rank), rank, seat) for rank in sorted(deciding | ended)]

        def after(now: Status) -> Status | None:
            if now.attempt != attempt:
                return None
            if own.outcome is Outcome.PREEMPTED and self._terminated:
                return dataclasses.replace(now, state=State.PREEMPTED, error=PREEMPTED)
            return verdict.judge(seat.task, now, endings)

        status.change(seat.store, seat.task.job, after)


def _ending(beat: Heartbeat | None, rank: int, seat: Seat) -> Heartbeat:
    """Return how a node ended; one that fell silent was lost, one never seen did not begin."""
    if beat is None:
        return Heartbeat(rank, seat.task.roles[rank], "", status.now(), outcome=Outcome.STOPPED)
    if beat.phase is not Phase.ENDED:
        return dataclasses.replace(beat, outcome=Outcome.LOST)
    return beat


def _seat(options: argparse.Namespace, store: ObjectStore, task: Task) -> Seat:
    expires_at_s = options.expires_at
    if options.expires_epoch is not None:
        expires_at_s = time.monotonic() + options.expires_epoch - time.time()
    return Seat(
        store=store,
        task=task,
        rank=options.rank,
        work=Path(options.work).absolute(),
        environments=Path(options.environments).absolute(),
        host=options.host,
        incarnation=uuid.uuid4().hex,
        expires_at_s=expires_at_s,
        parent=options.parent,
    )


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llmcloud-node")
    parser.add_argument("--store", required=True, help="URL of the store the job lies in")
    parser.add_argument("--job", required=True)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--rank", type=int)
    who.add_argument("--machine", choices=KINDS, help="the cloud that this machine is of")
    parser.add_argument("--group", help="what brings machines back that are taken away")
    parser.add_argument("--work", required=True, help="folder of this node's own")
    parser.add_argument("--environments", required=True, help="where virtual environments are kept")
    parser.add_argument("--host", default="127.0.0.1", help="address that the other nodes reach")
    parser.add_argument("--expires-at", type=float, help="end, on this machine's monotonic clock")
    parser.add_argument("--expires-epoch", type=float, help="end, in seconds since the epoch")
    parser.add_argument("--parent", type=int, help="end without this process: it keeps the node")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
