"""`llmcloud list`, `status`, `wait` and `cancel`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from llmcloud.cli import output
from llmcloud.cli.arguments import JobArgument
from llmcloud.cli.session import JsonOption, OpenJob, Session, StoreOption
from llmcloud.core.errors import UsageError
from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.core.listing import Listed

SHOWN = 50


def list_jobs(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Not only the newest 50.")
    ] = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the jobs, the newest first."""
    output.json_mode(as_json)
    from llmcloud.cli import render

    found, refused = _find(Session.open(store))
    if refused and not found:
        raise refused
    shown = found if everything or as_json else found[:SHOWN]
    if as_json:
        output.emit([render.summary_document(each.status) for each in shown])
    elif found:
        _print(shown, older=len(found) - len(shown))
    else:
        output.say("No jobs yet. Begin with: llmcloud init")
    if refused:  # what is listed may not be all
        raise refused


def _find(session: Session) -> tuple[list[Listed], Failure | None]:
    """Return the jobs of all stores that can be read, and why another can't."""
    from llmcloud.core import listing

    found: list[Listed] = []
    refused = None
    for store in session.stores:
        try:
            found += listing.find([store], session.compute, output.warn)
        except Failure as failure:
            if session.named:
                raise
            refused = failure
            output.warn(f"the jobs in {store.url} are left out: {failure.what}")
    return sorted(found, key=lambda each: each.status.created_at, reverse=True), refused


def _print(shown: Sequence[Listed], *, older: int) -> None:
    from llmcloud.cli import render, summary

    now_s = time.time()
    rows: list[list[str]] = []
    for each in shown:
        is_asked = len(rows) < SHOWN or not each.status.state.is_final  # --all may be thousands
        latest = each.latest() if is_asked else {}
        rows.append(summary.list_row(each.status, each.stage(), latest, now_s))
    print(render.table(rows, summary.HEADS, summary.LESS))  # noqa: T201
    if older:
        output.say(f"… and {older} older ones: llmcloud list --all")


def status(job: JobArgument, store: StoreOption = "", as_json: JsonOption = False) -> None:
    """Show one job: its state, its nodes, its latest metrics."""
    output.json_mode(as_json)
    from llmcloud.cli import render, summary
    from llmcloud.core import job as jobs
    from llmcloud.core import metrics

    opened = OpenJob.find(job, store)
    view = opened.observe()
    task = jobs.read(opened.store, opened.id).task
    latest = metrics.latest(opened.store, opened.id)
    if as_json:
        output.emit(render.view_document(view, task.roles, latest))
    else:
        print(summary.job_text(view, task, latest))  # noqa: T201


def wait(
    job: JobArgument,
    timeout: Annotated[
        str, typer.Option("--timeout", help="Give up after so long, e.g. 30m; the job goes on.")
    ] = "",
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Wait until a job has ended, and exit as it did: 0, 7 if it failed, 8 if it was cancelled."""
    output.json_mode(as_json)
    from llmcloud.cli import render, stay
    from llmcloud.core.follow import wait_for_end
    from llmcloud.core.spec.units import Duration, UnitError
    from llmcloud.runtime.errors import Unavailable

    try:
        timeout_s = Duration.parse(timeout).seconds if timeout else None
    except UnitError as error:
        raise UsageError(f"--timeout: {error.message}.", fix=error.hint) from error
    opened = OpenJob.find(job, store)
    tell = (lambda _: None) if as_json else stay.Narrator(opened)
    ended = wait_for_end(opened.status, timeout_s, tell)
    if not ended.state.is_final:
        raise Unavailable(
            f"{opened.id} has not ended within {timeout}: it is {ended.state.value}.",
            fix=f"llmcloud wait {opened.id}",
        )
    if as_json:
        output.emit(render.status_document(opened.observe(), opened))
    stay.finish(opened, ended)


def cancel(
    job: JobArgument,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Do not wait for the end.")
    ] = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Stop a job: SIGTERM, time to save, then SIGKILL; returns when nothing of it runs."""
    output.json_mode(as_json)
    from llmcloud.cli import render
    from llmcloud.core import cancel as cancels

    opened = OpenJob.find(job, store)
    told = (lambda _: None) if as_json else output.mention
    try:
        seen = cancels.run(opened.store, opened.compute, opened.id, told, detach=detach)
    except KeyboardInterrupt:
        output.say(f"\nThe same cancel goes on; what is left of {opened.id}: llmcloud gc")
        raise
    if as_json:
        output.emit(render.summary_document(seen))
    else:
        coming = "" if seen.state.is_final else ", until its nodes have saved and ended"
        output.say(f"{opened.id}: {seen.state.value}{coming}")
