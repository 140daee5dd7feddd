"""The `local` provider: each node of a job is a process tree of its own on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from llmcloud.core import registry
from llmcloud.core.errors import Problem
from llmcloud.core.provider import Compute, Finding, Machine, MachineState, Offer, Request
from llmcloud.providers.local import doctor, leftovers, machine
from llmcloud.providers.local.keeper import Order
from llmcloud.runtime import process
from llmcloud.runtime.documents import known
from llmcloud.runtime.errors import NoCapacity, Unavailable
from llmcloud.runtime.process import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.core.home import Home
    from llmcloud.core.job import Job
    from llmcloud.core.provider import Launch, Leftover, Place
    from llmcloud.core.spec.models import JobSpec

START_TIMEOUT_S = 20.0
FULL_BYTES = 1 << 20
POLL_S = 0.01
LAUNCHERS = ("none", "torchrun", "tensorflow")
KEEPER = ("-m", "llmcloud.providers.local.keeper")

# What a node inherits of the submitter's environment: how to find programs, packages and GPUs,
# and nothing that is a credential.
CLOUDS = {
    "s3": ("AWS_",),
    "gs": ("GOOGLE_", "CLOUDSDK_", "STORAGE_EMULATOR_HOST"),
    "az": ("AZURE_", "IDENTITY_", "MSI_"),
}
INHERITED = frozenset(
    [
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE"),
        *("TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_HOME"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HF_HOME", "TORCH_HOME"),
        *("PIP_CONFIG_FILE", "PIP_CACHE_DIR", "PIP_INDEX_URL", "UV_CACHE_DIR"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"),
        *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    ]
)


def make(home: Home) -> Compute:
    """Return the provider; what the registry calls."""
    return Local(home)


class Local(Compute):
    """Runs the nodes of a job below a keeper, one a job."""

    name: ClassVar[str] = "local"
    tidies_up: ClassVar[bool] = True
    look_every_s: ClassVar[float] = 0.0

    def __init__(self, home: Home) -> None:
        self._home = home

    def refusals(self, spec: JobSpec) -> list[Problem]:
        asked = [
            ("service", spec.service != "vm", "managed services are a cloud's"),
            ("region", bool(spec.region), "this machine is in no region"),
            ("launcher", spec.launcher.name not in LAUNCHERS, f"it has {', '.join(LAUNCHERS)}"),
        ]
        for group in spec.machine_groups():
            path, wanted = group.path, group.machine
            asked += [
                (f"{path}.instance_type", wanted.instance_type is not None, "there is one machine"),
                (f"{path}.image", wanted.image is not None, "jobs run on this system as it is"),
                (f"{path}.spot", wanted.spot is True, "nothing preempts this machine"),
            ]
        for number, source in enumerate(spec.data):
            absolute = Path(source.target).is_absolute()
            asked.append((f"data.{number}.target", absolute, "it lies outside of the job's folder"))
        return [
            Problem(key, f"the provider local can't honour this: {why}", hint=f"--set {key}=null")
            for key, is_asked, why in asked
            if is_asked
        ]

    def offers(self, spec: JobSpec) -> list[Offer]:
        return [machine.offer(spec, machine.Inventory.take(self._home.root))]

    def requests(self, job: str, spec: JobSpec, offer: Offer) -> list[Request]:  # noqa: ARG002
        order = {"job": job, "folder": str(self._folder(job)), "nodes": len(spec.role_list())}
        return [Request("local", "spawn", {"argv": [sys.executable, *KEEPER]}, order)]

    def launch(self, launch: Launch) -> list[Machine]:
        job = launch.job
        if not self._keeper(job.id):
            self._start(job, launch.secrets)
        ended = [Machine(rank, job.id, MachineState.GONE) for rank in range(job.task.nodes)]
        return self.describe(launch.place) or ended  # a short job may be over already

    def _start(self, job: Job, secrets: Mapping[str, str]) -> None:
        try:
            child = self._start_keeper(job, secrets)
        except OSError as error:
            raise Unavailable(
                f"The job's nodes can't be started here: {error.strerror}.",
                where=f"provider local: {error.filename or self._folder(job.id)}",
                fix="llmcloud doctor local",
            ) from error
        self._await_keeper(job.id, child)

    def _start_keeper(self, job: Job, secrets: Mapping[str, str]) -> subprocess.Popen[bytes]:
        folder = self._folder(job.id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        order = Order(
            job=job.id,
            store=job.store,
            folder=str(folder),
            environments=str(self._home.venvs),
            runtime=job.runtime,
            nodes=job.task.nodes,
            max_duration_s=job.task.max_duration_s,
            gpu=job.plan["offer"]["accelerator"] or "",
            gpus_per_node=job.task.accelerators_per_node,
            gpu_locks=str(self._home.root / "gpus"),
        )
        fresh = folder / "order.json.new"
        fresh.write_text(order.to_json())
        fresh.replace(folder / "order.json")  # gc reads it: whole, or not there
        with (folder / "order.json").open("rb") as told, (folder / "keeper.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, *KEEPER],
                stdin=told,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**_environ(job), process.TAG: str(folder), **secrets},
                start_new_session=True,  # it outlives this terminal
            )

    def describe(self, place: Place) -> list[Machine]:
        job, nodes = place.job, place.nodes
        folder, keeper = self._folder(job), self._last_keeper(job)
        if keeper is None:
            return []  # not launched yet, or deleted: nothing is known here
        state = MachineState.RUNNING if keeper.is_alive else MachineState.GONE
        said = "" if state is MachineState.RUNNING else self._last_words(job)
        return [Machine(rank, str(folder / f"node-{rank}"), state, said) for rank in range(nodes)]

    def delete(self, place: Place) -> bool:
        folder = self._folder(place.job)
        process.kill_tagged(process.TAG, str(folder))
        (folder / "keeper.json").unlink(missing_ok=True)
        return True

    def leftovers(self, live: frozenset[str], stores: frozenset[str]) -> list[Leftover]:
        return leftovers.find(self._home, live, stores)

    def remove(self, leftover: Leftover) -> bool:
        if leftover.kind == "processes":
            process.kill_tagged(process.TAG, leftover.id)
        else:
            shutil.rmtree(leftover.id, ignore_errors=True)
        return True

    def check(self, spec: JobSpec | None = None, *, mend: bool = False) -> list[Finding]:  # noqa: ARG002
        return doctor.check(self._home)

    def _folder(self, job: str) -> Path:
        return self._home.nodes / job

    def _keeper(self, job: str) -> Identity | None:
        """Return the keeper of a job while it lives."""
        keeper = self._last_keeper(job)
        return keeper if keeper and keeper.is_alive else None

    def _last_keeper(self, job: str) -> Identity | None:
        """Return the keeper of a job, dead or alive; None when the job has no machines here."""
        try:
            found = json.loads((self._folder(job) / "keeper.json").read_text())
            return Identity(**known(Identity, found))
        except (OSError, ValueError, TypeError):
            return None

    def _await_keeper(self, job: str, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._keeper(job) or child.poll() == 0:  # 0: all done, or another one keeps the job
                child.returncode = 0  # it goes on without us: not a child to warn of
                return
            if child.returncode:
                break
            time.sleep(POLL_S)
        if child.returncode == NoCapacity.exit_code:
            raise NoCapacity(
                self._last_words(job),
                where="provider local",
                fix="Wait for them (`llmcloud list`), or cancel one.",
            )
        raise Unavailable(
            "The process that keeps the job's nodes did not start.",
            where=f"provider local: {self._last_words(job) or 'it printed nothing'}",
            fix="llmcloud doctor local",
        )

    def _last_words(self, job: str) -> str:
        free = machine.free_bytes(self._home.nodes)
        if free < FULL_BYTES:
            return f"The disk is full: {free:,} bytes are free for {self._home.nodes}."
        try:
            log = (self._folder(job) / "keeper.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return log.strip().rpartition("\n")[2]


def _environ(job: Job) -> dict[str, str]:
    """Return a node's environment; `python` is there even where only llmcloud's own has one.

    A job whose store or data is a bucket gets what that cloud knows us by: what a machine's own
    role is in a cloud.
    """
    urls = (job.store, *(each.source for each in job.task.data))
    schemes = {url.partition("://")[0] for url in urls} & CLOUDS.keys()
    clouds = tuple(name for scheme in schemes for name in CLOUDS[scheme])
    environ = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or (clouds and name.startswith(clouds))
    }
    for scheme in schemes:  # profiles and sign-ons, which only the SDKs know
        environ = {**registry.buckets(scheme).environ(), **environ}
    own = str(Path(sys.executable).parent)
    environ["PATH"] = os.pathsep.join((environ.get("PATH", os.defpath), own))
    if sys.platform == "linux":
        # All nodes are on this machine, and its own name may lead nowhere.
        environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    return environ
