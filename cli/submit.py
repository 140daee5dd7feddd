"""`llmcloud submit` and `llmcloud resume`: start a job and stay with it."""

from __future__ import annotations

import functools
import os
from typing import Annotated, Any

import typer

from llmcloud.cli import output, progress, stay
from llmcloud.cli.arguments import FileArgument, JobArgument
from llmcloud.cli.session import JsonOption, OpenJob, Session, SetOption, StoreOption
from llmcloud.core import job as jobs
from llmcloud.core import stores
from llmcloud.core.job import Job
from llmcloud.runtime import status
from llmcloud.runtime.status import State

DetachOption = Annotated[
    bool, typer.Option("--detach", "-d", help="Return once the job is on its way.")
]


def submit(
    file: FileArgument,
    overrides: SetOption = None,
    detach: DetachOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a job and follow its log; Ctrl-C detaches and leaves it running.

    Exits as the job did: 0 if it succeeded, 7 if it failed, 8 if it was cancelled.
    """
    output.json_mode(as_json)
    from llmcloud.cli.plan import show
    from llmcloud.core import plan as plans
    from llmcloud.core import submit as submits
    from llmcloud.core.spec.load import load
    from llmcloud.core.stores import open_store

    loaded = load(file, overrides=overrides or [], environ=os.environ)
    session = Session.open()
    plan, compute = plans.make(loaded, session.home, jobs.new_id(loaded.spec.name))
    if dry_run:
        show(loaded, plan, as_json=as_json, requests=False)
        return
    made = None if loaded.spec.store else compute.store(plan.offer)
    store = open_store(made or loaded.spec.store or session.home.store_url)
    if not made:
        store.create()
    stores.remember(session.home, store.url)  # only what can be one
    for passed_over in plan.passed_over:
        output.warn(passed_over)
    if plan.max_cost_usd is None:
        output.warn("limits.max_duration is not set: a job that hangs costs until you cancel it")
    told = (lambda _: None) if as_json else output.mention
    showing = functools.partial(progress.bar, "uploading", quiet=as_json)
    try:
        job = submits.run(
            submits.Submission(loaded, plan, compute, store, os.environ, told, showing)
        )
    except KeyboardInterrupt:
        output.say("\nInterrupted. The same submit carries on; llmcloud gc forgets it.")
        raise
    _go_on(OpenJob(session, store, job.id), job, detach=detach, as_json=as_json)


def resume(
    job: JobArgument,
    detach: DetachOption = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Run a job that has ended on from its newest checkpoint, as the next attempt."""
    output.json_mode(as_json)
    from llmcloud.core import resume as resumes

    opened = OpenJob.find(job, store)
    told = (lambda _: None) if as_json else output.mention
    document = resumes.run(opened.store, opened.compute, opened.id, os.environ, told)
    attempt = status.read(opened.store, opened.id).attempt
    _go_on(opened, document, first_attempt=attempt, detach=detach, as_json=as_json)


def _go_on(
    opened: OpenJob, job: Job, *, first_attempt: int = 1, detach: bool, as_json: bool
) -> None:
    if as_json:
        output.emit_line(_document(job, status.read(opened.store, job.id).state))
    else:
        output.say(f"job {job.id} on {job.provider}")
    if detach:
        if not as_json:
            output.say(stay.how_to_come_back(job.id))
        return
    stay.until_the_end(opened, first_attempt=first_attempt, as_json=as_json)


def _document(job: Job, state: State) -> dict[str, Any]:
    return {
        "job": job.id,
        "name": job.name,
        "provider": job.provider,
        "service": job.service,
        "state": state.value,
        "store": job.store,
    }
