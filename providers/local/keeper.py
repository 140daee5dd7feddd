"""Keeps a job's nodes running on this machine: what an instance group is on a cloud.

    python -m llmcloud.providers.local.keeper < ORDER.json

It holds the job's lock for as long as it lives, which is how everybody sees that the job has
machines, and brings back a node whose runtime was killed. It listens to nobody: the nodes take
part in the job through the store by themselves.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from llmcloud.providers.local import gpus
from llmcloud.providers.local.unpack import unpack
from llmcloud.runtime import heartbeat, journal, process, status
from llmcloud.runtime.documents import known
from llmcloud.runtime.errors import Failure, NoCapacity
from llmcloud.runtime.heartbeat import Outcome
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import ObjectStore, open_store

POLL_S = 0.1
MAX_RESTARTS = 10  # of one node, in a row; what ends it will do so again
STEADY_S = 600.0  # a node that lived so long begins to count anew
RESTART_DELAY_S = 0.5


@dataclass(frozen=True)
class Order:
    """What to keep running, and where; `gpu` is the name of the GPUs that each node gets."""

    job: str
    store: str
    folder: str
    environments: str
    runtime: str
    nodes: int
    max_duration_s: float | None = None
    gpu: str = ""
    gpus_per_node: int = 0
    gpu_locks: str = ""

    @classmethod
    def from_json(cls, data: str) -> Order:
        """Read an order."""
        return cls(**known(cls, json.loads(data)))

    def to_json(self) -> str:
        """Write an order; it holds no secret: those are in the keeper's environment only."""
        return json.dumps(dataclasses.asdict(self))


def main() -> int:
    """Keep one job; 0 when it has ended or somebody else keeps it, 5 when GPUs are lacking."""
    order = Order.from_json(sys.stdin.read())
    folder = Path(order.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        wanted = order.gpus_per_node * order.nodes
        try:
            claimed = gpus.claim(Path(order.gpu_locks), order.gpu, wanted)
        except NoCapacity as failure:
            print(failure.what, flush=True)  # noqa: T201  what `launch` reads
            return failure.exit_code
        process.become_subreaper()
        _say_who_keeps(folder)
        return Keeper(order, open_store(order.store), claimed).run()


def _say_who_keeps(folder: Path) -> None:
    """Write down this process, whole at once: half a file would look like a keeper that died."""
    fresh = folder / "keeper.json.new"
    fresh.write_text(json.dumps(dataclasses.asdict(process.identify(os.getpid()))))
    fresh.replace(folder / "keeper.json")


class Keeper:
    """The nodes of one job as child processes."""

    def __init__(
        self, order: Order, store: ObjectStore, claimed: list[tuple[int, IO[str]]]
    ) -> None:
        self._order, self._store, self._gpus = order, store, claimed
        self._folder = Path(order.folder)
        limit_s = order.max_duration_s
        self._expires_at_s = None if limit_s is None else time.monotonic() + limit_s
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._started_at_s: dict[int, float] = {}
        self._restarts = dict.fromkeys(range(order.nodes), 0)
        self._parting = False

    def run(self) -> int:
        """Run the nodes until each has ended by itself, or a signal says to go."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._part if number is signal.SIGTERM else signal.SIG_IGN)
        try:
            self._begin()
        except Failure as failure:
            self._fail(str(failure))
        while self._children:
            self._look_after()
            time.sleep(POLL_S)
        process.kill_below(os.getpid())
        self._clean_up()
        return 0

    def _begin(self) -> None:
        self._runtime = unpack(self._store, self._order.runtime, Path(self._order.environments))
        for rank in range(self._order.nodes):
            self._start(rank)

    def _start(self, rank: int) -> None:
        order = self._order
        argv = [sys.executable, "-I", str(self._runtime)]
        argv += ["--store", order.store, "--job", order.job, "--rank", str(rank)]
        argv += ["--work", str(self._folder / f"node-{rank}"), "--environments", order.environments]
        argv += ["--parent", str(os.getpid())]
        if self._expires_at_s is not None:
            argv += ["--expires-at", str(self._expires_at_s)]
        environ = dict(os.environ)
        if self._gpus:
            share = self._gpus[rank * order.gpus_per_node :][: order.gpus_per_node]
            environ["CUDA_VISIBLE_DEVICES"] = ",".join(str(index) for index, _ in share)
        with self._log(rank).open("ab") as log:
            self._children[rank] = subprocess.Popen(
                argv,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started_at_s[rank] = time.monotonic()

    def _look_after(self) -> None:
        for rank, child in list(self._children.items()):
            if child.poll() is None:
                continue
            del self._children[rank]
            # What a killed node left running has come to us, by whatever name it goes.
            process.kill_below(os.getpid(), spare={each.pid for each in self._children.values()})
            if not self._parting and (child.returncode != 0 or self._goes_on()):
                self._bring_back(rank)

    def _goes_on(self) -> bool:
        """Tell whether the job has not ended, so that a node that went by itself must come back."""
        try:
            return not status.read(self._store, self._order.job).state.is_final
        except Failure:
            return False

    def _bring_back(self, rank: int) -> None:
        """Start a node anew; give up on one that ends again and again."""
        if time.monotonic() - self._started_at_s[rank] > STEADY_S:
            self._restarts[rank] = 0
        self._restarts[rank] += 1
        if self._restarts[rank] > MAX_RESTARTS:
            times = f"The runtime of node {rank} ended {MAX_RESTARTS} times."
            self._fail(f"{times} {self._last_words(rank)}")
            return
        time.sleep(RESTART_DELAY_S)
        self._start(rank)

    def _fail(self, error: str) -> None:
        def failed(now: Status) -> Status:
            return dataclasses.replace(now, state=State.FAILED, ended_at=status.now(), error=error)

        try:
            status.change(self._store, self._order.job, failed)
        except Failure as failure:  # then this process's log is all there is
            print(f"{status.now()} {error} {failure}", flush=True)  # noqa: T201

    def _log(self, rank: int) -> Path:
        return self._folder / f"node-{rank}.log"

    def _last_words(self, rank: int) -> str:
        lines = self._log(rank).read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""

    def _part(self, *_: object) -> None:
        """Have every node save what it has; the loop ends when they are gone."""
        self._parting = True
        for child in self._children.values():
            process.send(child.pid, signal.SIGTERM)

    def _clean_up(self) -> None:
        """Remove the job's folder, unless something in it is nowhere else."""
        try:
            journal.close(self._store, self._order.job)
            found = status.read(self._store, self._order.job)
            beats = heartbeat.read_all(self._store, self._order.job, found.attempt)
        except Failure:
            return
        kept = {Outcome.LOST, Outcome.PREEMPTED}
        is_safe = all(beat.saved and beat.outcome not in kept for beat in beats.values())
        if found.state.is_final and is_safe:
            shutil.rmtree(self._folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
