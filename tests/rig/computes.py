"""The providers that the contract suite runs on: one entry each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core import job as jobs
from llmcloud.core import plan as plans
from llmcloud.core import submit
from llmcloud.core.home import Home
from llmcloud.core.provider import Launch, Machine, MachineState
from llmcloud.core.spec.load import load
from llmcloud.runtime.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Compute, Place
    from llmcloud.core.spec.load import LoadedSpec
    from llmcloud.runtime.store import ObjectStore


@dataclass
class ComputeRig:
    """A provider, a store for its jobs, and jobs that are staged but not launched."""

    provider: str
    folder: Path
    compute: Compute
    home: Home
    store: ObjectStore

    def launch(self, job: Job) -> list[Machine]:
        """Ask for a job's machines."""
        return self.compute.launch(Launch(job, job.offers[0], 1, at=job.created_at))

    def place(self, job: Job) -> Place:
        """Return where a job's machines are."""
        return Launch(job, job.offers[0], 1).place

    def spec(self, text: str = "run: sleep 1000\n") -> LoadedSpec:
        """Return a job file's meaning; nothing is made."""
        path = self.folder / "job.yaml"
        path.write_text(f"name: contract\nprovider: {self.provider}\ncode: code\n{text}")
        return load(str(path), environ={"LLMCLOUD_HOME": str(self.home.root)})

    def staged(self, text: str = "run: sleep 1000\n") -> Job:
        """Return a job that only lacks its machines."""
        loaded = self.spec(text)
        plan, _ = plans.make(loaded, self.home, "contract-plan")
        stopped = _NotLaunched(self.compute)
        return submit.run(submit.Submission(loaded, plan, stopped, self.store, {}, lambda _: None))


class _NotLaunched:
    """A provider of which everything is asked but machines."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def __getattr__(self, name: str) -> object:
        return getattr(self._compute, name)

    def launch(self, launch: Launch) -> list[Machine]:
        """Start nothing, and say that it runs."""
        return [Machine(0, launch.job.id, MachineState.UNKNOWN)]


def local(folder: Path) -> Iterator[ComputeRig]:
    """Give this machine as a provider, with a home of its own."""
    from llmcloud.providers.local.compute import make

    home = Home.from_env({"LLMCLOUD_HOME": str(folder / "home")})
    store = open_store(home.store_url)
    store.create()
    (folder / "code").mkdir()
    rig = ComputeRig("local", folder, make(home), home, store)
    yield rig
    for job_id in jobs.ids(store):
        rig.compute.delete(rig.place(jobs.read(store, job_id)))


COMPUTES = {"local": local}
