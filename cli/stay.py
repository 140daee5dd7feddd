"""Stay with a job: print its log until it ends, and turn its end into an exit code."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from llmcloud.cli import output
from llmcloud.cli.lines import printer
from llmcloud.cli.machine_lines import show_machines
from llmcloud.cli.render import node_counts, one_line, span
from llmcloud.core import job as jobs
from llmcloud.core.errors import JobCancelled, JobFailed
from llmcloud.core.follow import Ending, follow
from llmcloud.core.logs import LogReader
from llmcloud.core.provider import MachineState
from llmcloud.runtime import layout
from llmcloud.runtime.errors import CredentialsError, Failure, Throttled, Unavailable
from llmcloud.runtime.status import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.cli.session import OpenJob
    from llmcloud.runtime.status import Status

FIRST_WORD_S, NEXT_WORD_S = 10.0, 30.0  # of silence, while machines start


def until_the_end(opened: OpenJob, *, first_attempt: int = 1, as_json: bool) -> None:
    """Follow a job from an attempt on; raises as the job ended. Ctrl-C detaches."""
    reader = LogReader(opened.store, opened.id, first_attempt=first_attempt)
    ending = Ending(opened.store, opened.id, opened.status)
    nodes = jobs.read(opened.store, opened.id).task.nodes
    show = printer(reader, nodes=nodes, as_json=as_json)
    patience = Patience(lambda: _whereabouts(opened, nodes))

    def caught_up() -> None:
        show.flush()
        if ending.status and not as_json:
            patience(ending.status)

    try:
        for line in follow(reader, ending, caught_up):
            show(line)
        show_machines(opened, show)
        show.finish()
    except KeyboardInterrupt:
        show.finish()
        output.say("\n" + how_to_come_back(opened.id))
        sys.exit(130)
    except (CredentialsError, Throttled, Unavailable):  # of ours: the job needs none of them
        show.finish()
        output.say(how_to_come_back(opened.id))
        raise
    if ending.status:
        if as_json:
            from llmcloud.cli.render import status_document

            output.emit_last(status_document(opened.observe(), opened))
        finish(opened, ending.status)


class Patience:
    """Says now and then that a training has yet to start, and what its machines do meanwhile."""

    def __init__(
        self,
        whereabouts: Callable[[], str],
        tell: Callable[[str], None] = output.say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._whereabouts, self._tell, self._clock = whereabouts, tell, clock
        self._since = clock()
        self._next = self._since + FIRST_WORD_S

    def __call__(self, seen: Status) -> None:
        """Look at a job's state once."""
        if seen.state is not State.PROVISIONING or (now := self._clock()) < self._next:
            return
        self._next = now + NEXT_WORD_S
        place = seen.zone or seen.region
        where = f" in {place}" if place else ""
        said = f"waiting for the training to start{where}: {self._whereabouts()}"
        self._tell(f"{said} ({span(now - self._since)})")


class Narrator:
    """Says each state and attempt that a job comes to, and that its machines are yet to start."""

    def __init__(self, opened: OpenJob) -> None:
        nodes = jobs.read(opened.store, opened.id).task.nodes
        self._patience = Patience(lambda: _whereabouts(opened, nodes))
        self._last: tuple[State, int] | None = None

    def __call__(self, seen: Status) -> None:
        """Look at a job's state once; of its end others tell."""
        if seen.state.is_final:
            return
        if self._last != (now := (seen.state, seen.attempt)):
            again = f", attempt {seen.attempt}" if seen.attempt > 1 else ""
            output.say(f"{seen.job}: {seen.state.value}{again}")
        self._last = now
        self._patience(seen)


def _whereabouts(opened: OpenJob, nodes: int) -> str:
    """Say what a job's nodes do, or what its provider says of machines that are to come."""
    try:
        view = opened.observe()
    except Failure:  # who follows the job will meet it, if it lasts
        return "no news"
    coming = (each.detail for each in view.machines if each.state is MachineState.COMING)
    said = next((one_line(each) for each in coming if each), "")
    return said or node_counts(view, nodes)


def finish(opened: OpenJob, ended: Status) -> None:
    """Say how a job ended, and see that nothing is left; raises as it ended."""
    try:
        _raise_for(opened, ended)
    finally:
        opened.tidy_up()


def _raise_for(opened: OpenJob, ended: Status) -> None:
    """Say that a job succeeded; JobFailed or JobCancelled when it did not."""
    if ended.state is State.SUCCEEDED:
        output.say(f"{ended.job} succeeded.")
        return
    if ended.state is State.CANCELLED:
        raise JobCancelled(f"{ended.job} was cancelled.", fix=f"llmcloud resume {ended.job}")
    how = "was lost" if ended.state is State.LOST else "failed"
    fix = f"llmcloud logs {ended.job} shows why. Mend it and submit again."
    if opened.store.folders(layout.checkpoints(ended.job)):
        resume = f"llmcloud resume {ended.job} carries on from its newest checkpoint, as it is."
        fix = f"{fix}\n{resume}"
    raise JobFailed(
        " ".join(part for part in (f"{ended.job} {how}.", ended.error) if part),
        where=f"attempt {ended.attempt}",
        fix=fix,
    )


def how_to_come_back(job: str) -> str:
    """Return what to type to see or end a job that goes on without us."""
    return (
        f"{job} runs on. Come back, or stop it:\n"
        f"  llmcloud logs -f {job}\n  llmcloud watch {job}\n  llmcloud cancel {job}"
    )
