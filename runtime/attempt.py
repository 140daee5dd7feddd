"""One node's part in one attempt: bring, restore, set up, meet, run, save."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from llmcloud.runtime import (
    environment,
    fetch,
    heartbeat,
    launch,
    layout,
    process,
    status,
    supervise,
    usage,
)
from llmcloud.runtime.checkpoints import Shipper, restore
from llmcloud.runtime.environment import Setup
from llmcloud.runtime.errors import Failure, Unavailable
from llmcloud.runtime.heartbeat import Heartbeat, Outcome, Phase
from llmcloud.runtime.launch import Peer, Place
from llmcloud.runtime.status import State
from llmcloud.runtime.supervise import Reason, Stop
from llmcloud.runtime.telemetry import Telemetry
from llmcloud.runtime.watch import Watch, Watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmcloud.runtime.seat import Seat

MEET_TIMEOUT_S = 1800.0  # a big image and a slow setup on one node of many
POLL_S = 0.2
CHECKPOINT_POLL_S = 1.0
SAVE_TIMEOUT_S = 6 * 3600.0  # for the last checkpoint of a job that nothing hurries
FROM_NOTHING = -1
SIGNALLED = 128

OUTCOMES = {
    Reason.CANCELLED: Outcome.CANCELLED,
    Reason.EXPIRED: Outcome.EXPIRED,
    Reason.PREEMPTED: Outcome.PREEMPTED,
    Reason.ABANDONED: Outcome.LOST,
    Reason.STORE_GONE: Outcome.LOST,
    Reason.STOPPED: Outcome.STOPPED,
}

Found = TypeVar("Found")


class _Stopped(Exception):
    """A stop was asked for between two stages."""


class Attempt:
    """One attempt; `take_part` returns this node's last heartbeat of it.

    `cause` is what ended the attempt before.
    """

    def __init__(self, seat: Seat, number: int, stop: Stop, cause: str | None = None) -> None:
        self._seat, self._number, self._stop, self._cause = seat, number, stop, cause
        self._watched = Watched(
            seat.store, seat.task, number, seat.rank, seat.expires_at_s, seat.parent
        )
        self._shipper: Shipper | None = None
        self._interrupted_by: Reason | None = None
        self._usage = usage.Sampler(seat.work)
        self._saying = threading.Lock()
        self._beat = Heartbeat(
            seat.rank, seat.task.roles[seat.rank], seat.incarnation, status.now(), host=seat.host
        )

    def take_part(self) -> Heartbeat:
        """Do everything from fetching the code to saving what came of it."""
        seat = self._seat
        self._say()
        place = (self._number, seat.rank)
        self._telemetry = Telemetry(seat.store, seat.task, place, seat.work, os.environ)
        if seat.echoes:
            self._telemetry.echo = sys.stdout.buffer
        tell = self._telemetry.capture.say
        with self._telemetry, Watch(self._watched, self._stop, self._say, tell) as self._watch:
            if self._cause and not self._seat.rank:
                tell(f"Attempt {self._number} begins: {self._cause.rstrip('.')}.")
            ending = self._guarded(self._work)
        ending = self._close_log(ending)
        self._say(
            phase=Phase.ENDED,
            outcome=ending.outcome,
            exit_code=ending.exit_code,
            error=ending.error,
        )
        return self._beat

    def _guarded(self, work: Callable[[], int]) -> Heartbeat:
        """Run the stages and say how they ended.

        A stop outweighs what it made of them, unless the training had ended before it.
        """
        try:
            exit_code = work()
            error = _explain(exit_code, self._seat.rank)
        except _Stopped:
            exit_code, error = 0, None
        except environment.SetupFailed as failure:
            exit_code, error = (
                failure.exit_code,
                f"setup failed with exit code {failure.exit_code}.",
            )
        except (Failure, OSError) as failure:
            exit_code, error = 1, str(failure)
        outcome = Outcome.FAILED if error else Outcome.SUCCEEDED
        if self._interrupted_by:
            outcome, error = OUTCOMES[self._interrupted_by], None
        if error:
            self._telemetry.capture.say(error)
        return dataclasses.replace(self._beat, outcome=outcome, exit_code=exit_code, error=error)

    def _work(self) -> int:
        task, seat = self._seat.task, self._seat
        fetch.fetch(seat.store, task, seat.code, self._check)
        seat.link_checkpoints()
        self._restore()
        self._check()
        setup = Setup(task.setup, seat.code, seat.environments, f"{task.job}-{seat.rank}")
        if task.setup.strip():
            self._say(phase=Phase.SETUP)
        folder = environment.prepare(setup, self._run_setup, self._pause)
        place = self._place(self._meet())
        self._begin()
        exit_code = self._train(place, folder)
        self._interrupted_by = self._stop.reason
        try:
            self._save()
        except (Failure, OSError) as failure:
            with self._saying:
                self._beat = dataclasses.replace(self._beat, saved=False)
            if not exit_code and not self._interrupted_by:
                raise
            self._telemetry.capture.say(f"What the run left could not all be saved: {failure}")
        return exit_code

    def _restore(self) -> None:
        """Bring the checkpoint folder to the newest valid checkpoint: node 0 chooses which."""
        seat, policy = self._seat, self._seat.task.checkpoints
        self._shipper = Shipper(
            seat.store,
            seat.task.job,
            seat.checkpoints,
            rank=seat.rank,
            nodes=seat.task.nodes,
            attempt=self._number,
            interval_s=policy.interval_s,
            keep=policy.keep,
            clock=time.monotonic,
            current_step=lambda: self._telemetry.step,
            peers_announced=self._peers_announced,
            peers_gone=self._peers_gone,
            warn=self._telemetry.capture.say,
            set_aside=seat.set_aside,
        )
        wanted = None  # the newest whose every byte is right
        if seat.rank:
            step = self._wait_for(lambda beats: beats[0].resume_step if 0 in beats else None)
            wanted = None if step == FROM_NOTHING else step
        elif seat.task.nodes == 1:
            self._shipper.ship_leftovers()
        restored = self._bring(wanted)
        step = FROM_NOTHING if restored is None else restored
        self._say(resume_step=step)
        if step != FROM_NOTHING:
            self._telemetry.capture.say(f"Attempt {self._number} starts from checkpoint {step}.")

    def _bring(self, step: int | None) -> int | None:
        seat = self._seat
        return restore(
            seat.store,
            seat.task.job,
            seat.checkpoints,
            step=step,
            rank=seat.rank,
            set_aside=seat.set_aside,
            warn=self._telemetry.capture.say,
        )

    def _run_setup(self, script: str, folder: Path | None) -> int:
        self._telemetry.capture.say(f"setup: {script.strip()}")
        command = supervise.Command(
            launch.shell(script), self._seat.code, environment.activate(self._environ(), folder)
        )
        exit_code = self._supervise(command)
        self._check()
        return exit_code

    def _meet(self) -> tuple[Peer, ...]:
        """Say that this node is ready, wait for all others, and return where everyone is."""
        nodes = self._seat.task.nodes
        self._say(phase=Phase.READY, port=_free_port(self._seat.host))

        def all_ready(beats: dict[int, Heartbeat]) -> tuple[Peer, ...] | None:
            beats = {**beats, self._seat.rank: self._beat}
            if len(beats) < nodes or any(beat.port == 0 for beat in beats.values()):
                return None
            return tuple(Peer(beats[rank].host, beats[rank].port) for rank in range(nodes))

        return self._wait_for(all_ready)

    def _begin(self) -> None:
        self._say(phase=Phase.RUNNING)
        if self._seat.rank:
            return

        def running(now: status.Status) -> status.Status | None:
            if now.attempt != self._number:
                return None
            started_at = now.started_at or status.now()
            return dataclasses.replace(now, state=State.RUNNING, started_at=started_at)

        status.change(self._seat.store, self._seat.task.job, running)

    def _train(self, place: Place, folder: Path | None) -> int:
        seat, task = self._seat, self._seat.task
        for path in (place.checkpoints, place.outputs):
            path.mkdir(parents=True, exist_ok=True)
        place.hyperparameters.write_text(json.dumps(task.hyperparameters))
        environ = {**self._environ(), **launch.variables(task, place), **task.env}
        command = supervise.Command(
            launch.shell(launch.command(task, place)),
            seat.code,
            environment.activate(environ, folder),
        )
        self._telemetry.read_metrics([seat.code])
        over = threading.Event()
        shipping = threading.Thread(target=self._ship_checkpoints, args=(over,), daemon=True)
        shipping.start()
        try:
            return self._supervise(command)
        finally:
            over.set()
            shipping.join()

    def _ship_checkpoints(self, over: threading.Event) -> None:
        problem = ""
        while self._shipper and not over.wait(CHECKPOINT_POLL_S):
            try:
                for step in self._shipper.poll():
                    self._telemetry.capture.say(f"Checkpoint {step} is saved.")
            except (Failure, OSError) as failure:
                if str(failure) != problem:  # say it once; the next poll tries again
                    problem = str(failure)
                    self._telemetry.capture.say(f"A checkpoint can't be saved for now: {failure}")

    def _save(self) -> None:
        """Ship the last checkpoint and the outputs, also when the run was stopped or failed."""
        seat = self._seat
        if self._stop.reason is Reason.STORE_GONE:
            return
        self._say(phase=Phase.SAVING)
        if self._shipper:
            deadline_s = seat.task.grace_s if self._interrupted_by else SAVE_TIMEOUT_S
            for step in self._shipper.flush(deadline_s):
                self._telemetry.capture.say(f"Checkpoint {step} is saved.")
        prefix = layout.outputs(seat.task.job, seat.rank)
        for name in fetch.send_outputs(seat.store, prefix, seat.code, self._outputs):
            self._telemetry.capture.say(f"The output {name} is no file of the job's: left out.")

    def _supervise(self, command: supervise.Command) -> int:
        capture = self._telemetry.capture
        exit_code = supervise.run(command, capture.feed, self._stop, self._seat.task.grace_s)
        capture.finish()
        return exit_code

    def _wait_for(self, ready: Callable[[dict[int, Heartbeat]], Found | None]) -> Found:
        """Read the heartbeats again and again until `ready` makes something of them."""
        deadline = time.monotonic() + MEET_TIMEOUT_S
        while time.monotonic() < deadline:
            found = ready(self._watch.peers.refresh())
            if found is not None:
                return found
            self._pause()
        raise Unavailable(
            f"Not all {self._seat.task.nodes} nodes were ready within {MEET_TIMEOUT_S:g} s.",
            fix="The log of the node that is missing says why.",
        )

    @property
    def _outputs(self) -> tuple[str, ...]:
        """Return what to keep; the first that can be a folder is the one the job is told of."""
        named = self._seat.task.outputs
        folders = [output for output in named if not PurePosixPath(output).suffix]
        folder = folders[0] if folders else "outputs"
        return (folder, *(output for output in named if output != folder))

    def _environ(self) -> dict[str, str]:
        """Return this process's environment; of our own names only the tag that `gc` looks for."""
        return {
            name: value
            for name, value in os.environ.items()
            if name == process.TAG or not name.startswith("LLMCLOUD_")
        }

    def _close_log(self, ending: Heartbeat) -> Heartbeat:
        try:
            self._telemetry.close()
        except Failure as failure:
            error = ending.error or f"The end of the log could not be shipped: {failure}"
            return dataclasses.replace(ending, outcome=Outcome.FAILED, error=error)
        return ending

    def _peers_announced(self) -> dict[int, list[int]]:
        beats = self._watch.peers.refresh()
        return {rank: list(beat.checkpoints) for rank, beat in beats.items()}

    def _peers_gone(self) -> set[int]:
        """Return who has ended or is lost, as of the last look at the others."""
        peers = self._watch.peers
        if self._seat.rank:  # the watch of node 0 alone looks at them by itself
            peers.refresh()
        return {rank for rank in range(self._seat.task.nodes) if peers.ended(rank)} | set(
            peers.lost()
        )

    def _pause(self) -> None:
        """Wait a little for another node or job."""
        self._stop.wait(POLL_S)
        self._check()

    def _check(self) -> None:
        self._interrupted_by = self._stop.reason
        if self._interrupted_by:
            raise _Stopped

    def _say(self, **changes: Any) -> None:
        """Write this node's heartbeat with what has changed; the watch calls this as well."""
        with self._saying:
            seen = tuple(self._shipper.announced()) if self._shipper else ()
            if not changes:  # a sample walks /proc and may ask a driver: no change waits for it
                changes = {"usage": self._usage.sample().to_document()}
            self._beat = dataclasses.replace(
                self._beat, at=status.now(), checkpoints=seen, **changes
            )
            heartbeat.write(self._seat.store, self._seat.task.job, self._number, self._beat)

    def _place(self, peers: tuple[Peer, ...]) -> Place:
        seat = self._seat
        data = seat.task.data[0].target if seat.task.data else "data"
        return Place(
            self._number,
            seat.rank,
            peers,
            seat.code,
            seat.checkpoints,
            seat.code / self._outputs[0],
            seat.code / data,
            seat.work / "hyperparameters.json",
        )


def _explain(exit_code: int, rank: int) -> str | None:
    """Say what an exit code means; None for success."""
    if exit_code == 0:
        return None
    if exit_code > SIGNALLED:
        with contextlib.suppress(ValueError):
            name = signal.Signals(exit_code - SIGNALLED).name
            memory = "; is the machine out of memory?" if name == "SIGKILL" else "."
            return f"The run was ended by {name} on node {rank}{memory}"
    return f"The run ended with exit code {exit_code} on node {rank}."


def _free_port(host: str) -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
