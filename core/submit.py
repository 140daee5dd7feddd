"""Submit a job: reserve its name, write it down, stage what it needs, start its machines.

Every step can be cut off and done again: what is there already is found, not made twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core import libraries, package, stage
from llmcloud.core.errors import SpecError
from llmcloud.core.job import Job
from llmcloud.core.launch import Launcher
from llmcloud.core.reserve import Reservation, renewed, reserve
from llmcloud.core.spec.task import task_of
from llmcloud.core.transfer.meter import Meter
from llmcloud.runtime import layout, status
from llmcloud.runtime.errors import Conflict, CredentialsError, Failure, NotFound
from llmcloud.runtime.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from llmcloud.core.plan import Plan
    from llmcloud.core.provider import Compute
    from llmcloud.core.spec.load import LoadedSpec
    from llmcloud.core.stage import DataTree, Load
    from llmcloud.runtime.store import ObjectStore


@dataclass(frozen=True)
class Submission:
    """All that a submit works with.

    `tell` gets a sentence about each thing being done; `showing` shows how far an upload is.
    """

    loaded: LoadedSpec
    plan: Plan
    compute: Compute
    store: ObjectStore
    environ: Mapping[str, str]
    tell: Callable[[str], None]
    showing: Callable[[Meter], AbstractContextManager[object]] = contextlib.nullcontext


def run(submission: Submission) -> Job:
    """Submit a job to a store that is there; return it once its machines were asked for."""
    values = secrets(submission.loaded.spec.secrets, submission.environ)
    submission.compute.prepare(submission.loaded.spec, submission.plan.offer)
    try:
        with tempfile.TemporaryDirectory(prefix="llmcloud-") as scratch:
            prepared = _prepare(submission, Path(scratch))
            job = _write_down(submission, prepared)
            with renewed(submission.store, job):
                staged = _stage(submission, job, prepared)
    except OSError as error:
        raise _unreadable(error) from error
    with renewed(submission.store, job):
        Launcher(submission.store, submission.compute, job, values, submission.tell).run(staged)
    return job


def secrets(names: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a job's secrets; CredentialsError for one that is not set."""
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise CredentialsError(
            f"The job needs {', '.join(missing)}, which the environment does not have.",
            where="secrets",
            fix=f"export {missing[0]}=… before you submit or resume.",
        )
    return {name: environ[name] for name in names}


def _unreadable(error: OSError) -> Failure:
    """Return what to raise when a file went while it was read, or the scratch disk is full."""
    return Failure(
        f"The code and data can't be read: {error.strerror or error}.",
        where=str(error.filename or tempfile.gettempdir()),
        fix="Submit again.",
    )


@dataclass(frozen=True)
class _Prepared:
    """What was looked at before anything was written down, so that a mistake leaves nothing."""

    code: package.Archive
    runtime: Path
    runtime_digest: str
    trees: list[DataTree]


def _prepare(submission: Submission, scratch: Path) -> _Prepared:
    loaded = submission.loaded
    code = loaded.spec.code
    folder = loaded.beside(code.path)
    # A new job must not begin where the one ended whose checkpoints were pulled into its folder.
    exclude = (*code.exclude, f"/{loaded.spec.checkpoints.path}/")
    try:
        archive = package.look(folder, exclude, code.max_size.bytes)
    except SpecError as failure:
        raise loaded.refused(*failure.problems) from failure
    trees = stage.data_trees(loaded)
    for warning in (*archive.warnings, *(w for tree in trees for w in tree.warnings)):
        submission.tell(f"warning: {warning}")
    runtime = scratch / "runtime.pyz"
    architecture = submission.plan.offer.architecture
    brought = libraries.files(architecture) if architecture else ()
    return _Prepared(archive, runtime, package.pack_runtime(runtime, brought), trees)


def _write_down(submission: Submission, prepared: _Prepared) -> Job:
    """Reserve the name and write the job's document and first state, or find them written."""
    loaded, store = submission.loaded, submission.store
    wanted = jobs.new_id(loaded.spec.name)
    mine = Reservation.mine(wanted, _digest(loaded, prepared))
    job_id = reserve(store, submission.compute, loaded.spec.name, mine)
    if job_id != wanted:
        submission.tell(f"carrying on with {job_id}, whose submit was cut off")
        with contextlib.suppress(NotFound):
            return jobs.read(store, job_id)
    job = _job(submission, prepared, job_id)
    store.put(layout.job_document(job_id), job.to_json(), if_absent=True)
    return job


def _digest(loaded: LoadedSpec, prepared: _Prepared) -> str:
    sources = [tree.source for tree in prepared.trees]
    parts = (loaded.digest, prepared.code.digest, prepared.runtime_digest, repr(sources))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _job(submission: Submission, prepared: _Prepared, job_id: str) -> Job:
    loaded, plan = submission.loaded, submission.plan
    sources = tuple(tree.source for tree in prepared.trees)
    return Job(
        id=job_id,
        name=loaded.spec.name,
        provider=plan.offer.provider,
        service=plan.offer.service,
        region=plan.offer.region,
        store=submission.store.url,
        created_at=status.now(),
        spec=loaded.document,
        spec_digest=loaded.digest,
        plan=plan.to_document(),
        task=task_of(loaded.spec, job=job_id, code=prepared.code.digest, data=sources),
        runtime=prepared.runtime_digest,
    )


def _stage(submission: Submission, job: Job, prepared: _Prepared) -> Status:
    store = submission.store
    first = Status(
        job=job.id,
        name=job.name,
        provider=job.provider,
        service=job.service,
        region=job.region,
        state=State.SUBMITTED,
        created_at=job.created_at,
    )
    with contextlib.suppress(Conflict):  # a submit that was cut off may have come so far
        status.begin(store, first)
    with ThreadPoolExecutor(1) as pool:
        staging = pool.submit(status.advance, store, job.id, 1, State.STAGING)
        loads = [
            *stage.code(store, prepared.code),
            *stage.runtime(store, prepared.runtime, job.runtime),
            *(load for tree in prepared.trees for load in stage.data(store, tree)),
        ]
    if loads:
        _upload(submission, loads)
    return staging.result()


def _upload(submission: Submission, loads: list[Load]) -> None:
    meter = Meter()
    with submission.showing(meter):
        for load in loads:
            noun = "file" if load.files == 1 else "files"
            submission.tell(
                f"uploading {load.name} ({load.files:,} {noun}, {load.size_bytes:,} bytes)"
            )
            meter.is_listed = load is loads[-1]
            load.send(meter)
