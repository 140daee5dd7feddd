"""A training job's life: hosts, data, containers, their end, and what is kept of them."""

from __future__ import annotations

import math
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.rig.aws import sagemaker_host as layout
from tests.rig.aws import sagemaker_s3
from tests.rig.aws.sagemaker_logs import Pump

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.rig.aws.sagemaker_host import Container, Executor, Host
    from tests.rig.aws.sagemaker_job import TrainingJob

POLL_S = 0.05
RESTART_S = 0.1
FINAL = {
    "ended": "Completed",
    "stop": "Stopped",
    "expired": "MaxRuntimeExceeded",
    "waited": "MaxWaitTimeExceeded",
}
AGAIN = ("interrupt", "crash")  # what a job may be started again after
CRASHED = "InternalServerError: We encountered an internal error. Please try again."


@dataclass(frozen=True)
class Means:
    """What running jobs takes.

    `s3` is a client of where S3 is kept. Without an executor, jobs stay `Starting`. `grace_s` is
    what the service gives a container between SIGTERM and SIGKILL.
    """

    s3: Any
    scratch: Path
    executor: Executor | None = None
    grace_s: float = 120.0


class Run(threading.Thread):
    """Brings one job from its creation to its end."""

    def __init__(
        self, job: TrainingJob, means: Means, lock: AbstractContextManager[object]
    ) -> None:
        super().__init__(name=f"training {job.name}", daemon=True)
        self._job, self._means, self._lock = job, means, lock
        self._asked: str | None = None
        self._incarnation, self._ran_s = 0, 0.0
        self._tries = job.request.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)

    def ask(self, what: str) -> None:
        """Ask for a stop, an interrupt or a crash."""
        with self._job.changed:
            self._asked = what
            self._job.changed.notify_all()

    def run(self) -> None:
        job = self._job
        try:
            while not job.is_over:
                self._asked = None if self._asked in AGAIN else self._asked
                self._once()
        except sagemaker_s3.Denied as denied:
            job.move("Failed", "Failed", f"ClientError: {denied}")
        except Exception as error:  # the rig's own mistake, told where the test looks
            job.move("Failed", "Failed", f"InternalServerError: {error!r}")
            raise

    def _once(self) -> None:
        job, self._incarnation = self._job, self._incarnation + 1
        folder = self._means.scratch / job.name / str(self._incarnation)
        hosts = layout.hosts(job, folder)
        job.move("Downloading")
        for host in hosts:
            layout.lay_out(host, hosts, self._means.s3)
        if self._asked == "stop":
            job.move("Stopped", "Stopped")
            return
        self._train(hosts)

    def _train(self, hosts: list[Host]) -> None:
        job = self._job
        containers = self._start(hosts)
        pumps = self._pumps(hosts, containers)
        job.move("Training")
        sent: dict[Path, tuple[int, int]] = {}
        ended = self._await(hosts, containers, sent)
        self._end(containers, 0.0 if ended == "crash" else self._means.grace_s)
        for pump in pumps:
            pump.join()
        self._synchronise(hosts, sent)
        codes = [container.poll() or 0 for container in containers]
        self._conclude(hosts, ended, codes, pumps)

    def _start(self, hosts: list[Host]) -> list[Container]:
        request, peers = self._job.request, [host.name for host in hosts]
        environ, argv = layout.environ(self._job), layout.command(request)
        assert self._means.executor is not None
        return self._means.executor.start(
            [layout.Wanted(host, argv, environ, peers) for host in hosts]
        )

    def _pumps(self, hosts: list[Host], containers: list[Container]) -> list[Pump]:
        job, began = self._job, int(time.time()) + self._incarnation  # no two have one name
        pumps = [
            Pump(container.output, f"{job.name}/{host.name}-{began}", job.region, self._lock)
            for host, container in zip(hosts, containers, strict=True)
        ]
        for pump in pumps:
            pump.start()
        return pumps

    def _await(
        self, hosts: list[Host], containers: list[Container], sent: dict[Path, tuple[int, int]]
    ) -> str:
        """Wait for the end of all or the failure of one, or a reason to end them; say which."""
        began = time.monotonic()
        limits = self._job.request["StoppingCondition"]
        ends = began + limits.get("MaxRuntimeInSeconds", 24 * 3600) - self._ran_s
        waited_s = time.time() - self._job.created_at
        gives_up = began + limits.get("MaxWaitTimeInSeconds", math.inf) - waited_s
        while True:
            codes = [container.poll() for container in containers]
            if all(code is not None for code in codes) or any(codes):
                return "ended"
            self._ran_s += time.monotonic() - began
            began = time.monotonic()
            if began > ends:
                return "expired"
            if began > gives_up:
                return "waited"
            with self._job.changed:
                if self._asked:
                    return self._asked
                self._job.changed.wait(POLL_S)
            self._synchronise(hosts, sent)

    def _end(self, containers: list[Container], grace_s: float) -> None:
        """SIGTERM, the grace, and SIGKILL; nothing where all have ended."""
        left = [container for container in containers if container.poll() is None]
        for container in left if grace_s else ():
            container.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while any(each.poll() is None for each in left) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for container in containers:
            container.kill()
        while any(each.poll() is None for each in left):
            time.sleep(POLL_S)

    def _synchronise(self, hosts: list[Host], sent: dict[Path, tuple[int, int]]) -> None:
        config = self._job.request.get("CheckpointConfig")
        for host in hosts if config else ():
            sagemaker_s3.push(self._means.s3, host.ml / "checkpoints", config["S3Uri"], sent)

    def _conclude(self, hosts: list[Host], ended: str, codes: list[int], pumps: list[Pump]) -> None:
        job = self._job
        if ended == "interrupt" and not any(codes):  # nobody says that it is another end than any
            ended = "ended"
        if ended == "crash" and not self._tries:
            job.move("Failed", "Failed", CRASHED)
            return
        if ended in AGAIN:
            self._tries -= ended == "crash"
            job.move("Interrupted" if ended == "interrupt" else "Restarting")
            time.sleep(RESTART_S)
            job.move("Starting")
            return
        if ended == "ended" and any(codes):
            number = next(n for n, code in enumerate(codes) if code)
            job.move("Failed", "Failed", _reason(hosts[number], codes[number], pumps[number]))
            return
        if ended == "ended":
            job.move("Uploading")
        self._upload(hosts)
        job.move(FINAL[ended], "Completed" if ended == "ended" else "Stopped")

    def _upload(self, hosts: list[Host]) -> None:
        """Keep what the containers left in /opt/ml/model and /opt/ml/output/data.

        The service packs them; here they stay files, as with CompressionType NONE.
        """
        output = self._job.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        for host in hosts:
            for folder, name in (("model", "model"), ("output/data", "data")):
                uri = f"{output}/{self._job.name}/output/{name}"
                sagemaker_s3.push(self._means.s3, host.ml / folder, uri, {})


def _reason(host: Host, code: int, pump: Pump) -> str:
    """Return why a job failed: what its container wrote down, or else printed last."""
    failure = host.ml / "output" / "failure"
    said = failure.read_text(errors="replace") if failure.is_file() else ""
    if not said and any("Traceback" in line for line in pump.last):
        said = "\n".join(pump.last)
    return f"AlgorithmError: {said[-900:]}, exit code: {code}"
