"""The cloud as a whole: one server that is every AWS endpoint, in every region.

    python -m tests.rig.aws.cloud --port 0 --s3 http://127.0.0.1:4566

What tests ask of it beside AWS's own calls is in control.py.
"""

from __future__ import annotations

import argparse
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moto.core.exceptions import ServiceException
from tests.rig.aws import access, answer, inputs, kms, moto_app, pricing, quotas, s3, schema
from tests.rig.aws.call import ON_TO_MOTO, Call, Refusal, Service, parsed, scope_of
from tests.rig.aws.control import PREFIX, Control
from tests.rig.aws.ec2 import Ec2
from tests.rig.aws.faults import Faults
from tests.rig.aws.groups import Groups
from tests.rig.aws.iam import service as iam
from tests.rig.aws.iam import sts
from tests.rig.aws.launch import Launcher
from tests.rig.aws.machines import Machines
from tests.rig.aws.placement import PlacementGroups
from tests.rig.aws.scaling import Scaling
from tests.rig.aws.session_manager import SessionManager
from tests.rig.aws.ssm import service as ssm
from tests.rig.aws.world import World
from tests.rig.gcs.server import Interrupted, Request, Response, Server

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from tests.rig.aws.machine import Hypervisor

TICK_S = 0.1
OURS = {"autoscaling", "pricing", "servicequotas"}


@dataclass(frozen=True)
class Options:
    """Where the cloud listens, with which certificate, and which server is its S3.

    `services` makes more of them for each new world, SageMaker for one. Without a hypervisor, no
    machine is booted, and instances only pretend.
    """

    port: int = 0
    address: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    s3_url: str = ""
    hypervisor: Hypervisor | None = None
    services: Sequence[Callable[[World], Service]] = ()


class Cloud:
    """AWS for as long as the `with` block, or from `start` to `stop`; one in a process."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.faults = Faults()
        self._control = Control(self)
        self._server = Server(options.port, self.answer, options.address, options.tls)
        self._is_over = threading.Event()
        self.port = self._server.port
        self.reset()

    def __enter__(self) -> Cloud:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._server.start()
        if self.options.hypervisor:
            threading.Thread(target=self._tick, daemon=True).start()

    def stop(self) -> None:
        self._is_over.set()
        self.faults.clear()
        self._server.stop()

    def reset(self) -> None:
        """Be a new account: nothing is left but what S3 keeps."""
        moto_app.reset()
        self.faults.clear()
        access.seed()
        self.world = World(hypervisor=self.options.hypervisor)
        self.machines = Machines(self.world)
        launcher = Launcher(self.world, self.machines, PlacementGroups(self.machines))
        self.groups = Groups(self.machines, launcher)
        self.sessions = SessionManager(self.world, self.machines)
        made = [
            Ec2(self.world, self.machines, launcher).service(),
            Scaling(self.groups).service(),
            ssm(self.sessions),
            iam(),
            sts(),
            kms.service(),
            pricing.service(),
            quotas.service(self.world),
            *(make(self.world) for make in self.options.services),
        ]
        self.services = {each.name: each for each in made}
        if self.options.hypervisor:
            self.options.hypervisor.on_shutdown = self.machines.shut_down

    def answer(self, request: Request) -> Response:
        """Answer any request."""
        if request.path.startswith(PREFIX):
            return self._control.answer(request)
        sent, request = request, s3.by_path(request)
        call = Call(request, scope_of(request), "")
        try:
            call = parsed(request)
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001 - a test hears of it
            return self._failed(call, error)
        call.sent = sent
        entry = self._journalled(call)
        try:
            self.faults.meet(entry, after=False)
            response = self._answered(call)
            entry["status"] = response.status
            self.faults.meet(entry, after=True)
        except Refusal as refusal:  # the rules' own
            response = answer.refused(call, refusal)
            entry["status"] = response.status
        return response

    def _journalled(self, call: Call) -> dict[str, Any]:
        """Write a call down, once it is known what it is for."""
        asked = s3.asked(call.request) if call.service == "s3" else s3.Asked(call.operation)
        call.operation = asked.operation
        if asked.operation == "DeleteObjects":
            call.body = call.request.body.read()  # which names what is to be permitted
        entry = self.faults.enter(call, asked.bucket, asked.key)
        if self.world.knobs.latency_s:
            time.sleep(self.world.knobs.latency_s)
        return entry

    def _answered(self, call: Call) -> Response:
        try:
            return self._answer(call)
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001 - a test hears of it
            return self._failed(call, error)

    def _failed(self, call: Call, error: Exception) -> Response:
        """Say it as AWS would; what is no refusal is a bug of the rig, and a test's failure."""
        if isinstance(error, Refusal):
            return answer.refused(call, error)
        if isinstance(error, ServiceException):  # what moto's parts say to ours
            return answer.refused(call, Refusal(error.code, error.message))
        self.world.problems.append(f"bug: {call.service} {call.operation}: {error!r}")
        traceback.print_exception(error)
        return answer.refused(call, Refusal("InternalFailure", repr(error), 500))

    def _answer(self, call: Call) -> Response:
        with self.world.lock:
            access.check_region(self.world, call)
            if self.world.knobs.enforces_iam:
                access.check(self.world, call)
        if call.service == "s3":
            access.check_bucket(self.world, call)
            response = s3.forward(call, self.options.s3_url)
            if self.world.knobs.enforces_iam:
                access.check_may_miss(call, response.status)
            return response
        with self.world.lock:
            inputs.check(call)
            service = self.services.get(call.service)
            if service and call.operation in service.operations:
                value = service.operations[call.operation](call)
                if value is not ON_TO_MOTO:
                    self._check_result(call, value)
                    return answer.result(call, value)
            elif service and not service.is_on_moto:
                self.world.problems.append(f"not served: {call.service} {call.operation}")
                raise Refusal("InvalidAction", f"{call.operation} is not served here.", 501)
            return moto_app.forward(call)

    def _check_result(self, call: Call, value: object) -> None:
        """Let tests fail by what the model does not allow; moto's objects are looked at by moto."""
        shape = call.model.output_shape
        if shape and isinstance(value, dict) and call.service in OURS:
            for problem in schema.problems(shape, value):
                self.world.problems.append(f"{call.service} {call.operation} answers: {problem}")

    def _tick(self) -> None:
        while not self._is_over.wait(TICK_S):
            with self.world.lock:
                self.groups.look()


def _sagemaker(folder: Path, s3_url: str) -> Callable[[World], Service]:
    """Return what makes SageMaker for a world; containers are bare processes here."""
    from tests.rig.aws import sagemaker_s3
    from tests.rig.aws.sagemaker import SageMaker
    from tests.rig.aws.sagemaker_containers import Bare
    from tests.rig.aws.sagemaker_run import Means

    return SageMaker(Means(sagemaker_s3.client(s3_url), folder, Bare(), grace_s=1.0)).service


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--s3", default="", help="the URL of the emulator that keeps S3")
    parser.add_argument("--jobs", type=Path, help="where SageMaker runs, as processes; else not")
    asked = parser.parse_args()
    services = [_sagemaker(asked.jobs, asked.s3)] if asked.jobs else []
    options = Options(asked.port, asked.address, s3_url=asked.s3, services=services)
    with Cloud(options) as cloud:
        print(f"AWS is at http://{asked.address}:{cloud.port}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
