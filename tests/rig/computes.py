"""The providers that the contract suite runs on: one entry each, or more for what they do apart.

With LLMCLOUD_LIVE=aws the suite runs on a real account, whose credentials the SDK finds, and pays.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.rig.waits import eventually

from llmcloud.core import job as jobs
from llmcloud.core import plan as plans
from llmcloud.core import registry, submit
from llmcloud.core.home import Home
from llmcloud.core.provider import Launch, Machine, MachineState
from llmcloud.core.spec.load import load
from llmcloud.core.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmcloud.core.job import Job
    from llmcloud.core.provider import Compute, Place
    from llmcloud.core.spec.load import LoadedSpec
    from llmcloud.runtime.store import ObjectStore


@dataclass
class ComputeRig:
    """A provider, a store for its jobs, and jobs that are staged but not launched.

    `more` is what job files say to be the kind of job that is meant. `emulator` has to run for it.
    """

    provider: str
    folder: Path
    compute: Compute
    home: Home
    store: ObjectStore
    more: str = ""

    def launch(self, job: Job) -> list[Machine]:
        """Ask for a job's machines, in the first place that there is, and wait for them."""
        launch = self._launch(job)
        self.compute.launch(launch)
        return eventually(lambda: self.compute.describe(launch.place), "there are machines")

    def place(self, job: Job) -> Place:
        """Return where a job's machines are."""
        return Launch(job, job.offers[0], 1).place

    def delete(self, job: Job) -> None:
        """End all that a job has."""
        eventually(lambda: self.compute.delete(self.place(job)), "all of the job is gone")

    def _launch(self, job: Job) -> Launch:
        offer = job.offers[0]
        zone = self.compute.zones(job, offer)[0]
        return Launch(job, offer, 1, zone, at=job.created_at)

    def spec(self, text: str = "run: sleep 1000\n") -> LoadedSpec:
        """Return a job file's meaning; nothing is made."""
        path = self.folder / "job.yaml"
        own = f"name: contract-{uuid.uuid4().hex[:6]}\nprovider: {self.provider}\n"
        path.write_text(f"{own}code: code\nstore: {self.store.url}\n{self.more}{text}")
        return load(str(path), environ={"LLMCLOUD_HOME": str(self.home.root)})

    def staged(self, text: str = "run: sleep 1000\n") -> Job:
        """Return a job that only lacks its machines."""
        loaded = self.spec(text)
        plan, _ = plans.make(loaded, self.home, "contract-plan")
        stopped = _NotLaunched(self.compute)
        return submit.run(submit.Submission(loaded, plan, stopped, self.store, {}, lambda _: None))


@dataclass(frozen=True)
class Provider:
    """How to make a rig in a folder of the test's own; `emulator` has to run for it."""

    make: Callable[[Path], ComputeRig]
    emulator: str = ""

    def opened(self, folder: Path) -> Iterator[ComputeRig]:
        """Give a rig, and end what its jobs have afterwards."""
        (folder / "code").mkdir()
        rig = self.make(folder)
        yield rig
        for job_id in jobs.ids(rig.store):
            rig.delete(jobs.read(rig.store, job_id))
        if rig.store.url.startswith("s3://"):
            _end_bucket(rig)


def _end_bucket(rig: ComputeRig) -> None:
    """Leave nothing in the account, which may be somebody's."""
    scheme, _, name = rig.store.url.partition("://")
    buckets = registry.buckets(scheme)
    buckets.empty(name)
    buckets.delete(name)


class _NotLaunched:
    """A provider of which everything is asked but machines."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def __getattr__(self, name: str) -> object:
        return getattr(self._compute, name)

    def zones(self, _job: Job, _offer: object) -> list[None]:
        """Ask nobody."""
        return [None]

    def launch(self, launch: Launch) -> list[Machine]:
        """Start nothing, and say that it runs."""
        return [Machine(0, launch.job.id, MachineState.UNKNOWN)]


def _local(folder: Path) -> ComputeRig:
    """Give this machine as a provider, with a home of its own."""
    from llmcloud.providers.local.compute import make

    home = Home.from_env({"LLMCLOUD_HOME": str(folder / "home")})
    store = open_store(home.store_url)
    store.create()
    return ComputeRig("local", folder, make(home), home, store)


def _aws(more: str) -> Callable[[Path], ComputeRig]:
    def make(folder: Path) -> ComputeRig:
        from llmcloud.providers.aws.compute import Aws

        home = Home.from_env({"LLMCLOUD_HOME": str(folder / "home")})
        compute = Aws(home)
        store = open_store(f"s3://llmcloud-contract-{uuid.uuid4().hex[:12]}")
        store.create()
        return ComputeRig("aws", folder, compute, home, store, more)

    return make


COMPUTES = {
    "local": Provider(_local),
    "aws": Provider(_aws("region: us-east-1\n"), "aws"),
    "aws-managed": Provider(_aws("region: us-east-1\nservice: managed\n"), "aws"),
}
