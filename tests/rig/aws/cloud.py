"""The cloud as a whole: one server that is every AWS endpoint, in every region.

python -m tests.rig.aws.cloud --port 0 --s3 http://127.0.0.1:4566
"""

from __future__ import annotations

import argparse
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.rig.aws import answer, moto_app, s3
from tests.rig.aws.call import Call, Refusal, Scope, Service, parsed
from tests.rig.gcs.server import Request, Response, Server

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

CONTROL = "/_rig/"


@dataclass(frozen=True)
class Options:
    """Where the cloud listens, with which certificate, and which server is its S3."""

    port: int = 0
    address: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    s3_url: str = ""


class Cloud:
    """AWS for as long as the `with` block, or from `start` to `stop`; one in a process."""

    def __init__(self, options: Options, services: Iterable[Service] = ()) -> None:
        self.options = options
        self.services = {each.name: each for each in services}
        self.problems: list[str] = []
        self._moto = threading.RLock()  # it was not made for threads
        self._server = Server(options.port, self.answer, options.address, options.tls)
        self.port = self._server.port

    def __enter__(self) -> Cloud:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        moto_app.reset()
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def answer(self, request: Request) -> Response:
        """Answer any request."""
        if request.path.startswith(CONTROL):
            return self._control(request)
        call = Call(request, Scope(), "")
        try:
            call = parsed(s3.by_path(request))
            return self._answer(call)
        except Refusal as refusal:
            return answer.refused(call, refusal)

    def _answer(self, call: Call) -> Response:
        if call.service == "s3":
            return s3.forward(call, self.options.s3_url)
        with self._moto:
            service = self.services.get(call.service)
            if service and call.operation in service.operations:
                return answer.result(call, service.operations[call.operation](call))
            if service and not service.is_on_moto:
                self.problems.append(f"not served: {call.service} {call.operation}")
                raise Refusal("InvalidAction", f"{call.operation} is not served here.", 501)
            return moto_app.forward(call)

    def _control(self, request: Request) -> Response:
        return answer.document({"problems": self.problems})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--s3", default="", help="the URL of the emulator that keeps S3")
    asked = parser.parse_args()
    cloud = Cloud(Options(asked.port, asked.address, None, asked.s3))
    with cloud:
        print(f"AWS is at http://{asked.address}:{cloud.port}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
