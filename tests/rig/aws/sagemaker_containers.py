"""What runs the containers of training jobs: in roots of their own, or barely, as processes."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import threading
import uuid
from typing import IO, TYPE_CHECKING

from moto.backends import get_backend
from tests.rig.aws import answer, overlay
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.imds import instant
from tests.rig.aws.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.rig.aws.namespace import Namespace
    from tests.rig.aws.sagemaker_host import Container, Wanted
    from tests.rig.gcs.server import Request, Response

CREDENTIALS = "169.254.170.2"
CREDENTIALS_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
ML = "/opt/ml"
VALID_S = 3600
LOCALHOST = "127.0.0.1 localhost\n"
NAMES_S = 1.0  # after which hosts know their names: AWS says that it may take a while


class Overlays:
    """Runs containers in overlays of this machine's root, on the rig's network.

    The image is not pulled: this machine's root is what each of them holds.
    """

    def __init__(self, space: Namespace) -> None:
        self.lock: AbstractContextManager[object] = threading.RLock()
        self._space = space
        self._roles: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def start(self, wanted: Sequence[Wanted]) -> list[Container]:
        addresses = {each.host.name: self._address() for each in wanted}
        names = "".join(f"{address} {name}\n" for name, address in addresses.items())
        for each in wanted:
            _hosts(each).write_text(LOCALHOST)
        threading.Timer(NAMES_S, _name, (wanted, LOCALHOST + names)).start()
        role = wanted[0].host.job.request["RoleArn"]
        path = f"/v2/credentials/{uuid.uuid4()}"
        self._roles[path] = role
        return [
            overlay.start(
                overlay.Container(
                    name=f"training-{uuid.uuid4().hex[:12]}",
                    argv=each.argv,
                    environ={**each.environ, CREDENTIALS_URI: path},
                    hostname=each.host.name,
                    address=addresses[each.host.name],
                    binds={each.host.ml: ML, _hosts(each): "/etc/hosts"},
                ),
                self._space,
            )
            for each in wanted
        ]

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Hand out the credentials of the jobs' roles, where containers look for them."""
        with serving(self._space.listener(CREDENTIALS, 80), self._answer):
            yield

    def _answer(self, request: Request) -> Response:
        found = self.credentials(request.path)
        return answer.document(found or {"message": "no such credentials"}, 200 if found else 404)

    def credentials(self, path: str) -> dict[str, str] | None:
        """Return fresh credentials of the role that a path stands for."""
        if path not in self._roles:
            return None
        with self.lock:
            held = get_backend("sts")[ACCOUNT]["aws"].assume_role(
                "us-east-1", "SageMaker", self._roles[path], "", VALID_S, ""
            )
        return {
            "RoleArn": self._roles[path],
            "AccessKeyId": held.access_key_id,
            "SecretAccessKey": held.secret_access_key,
            "Token": held.session_token,
            "Expiration": instant(held.expiration),
        }

    def _address(self) -> str:
        number = next(self._numbers)
        return f"10.100.{number // 250}.{number % 250 + 1}"


def _hosts(wanted: Wanted) -> Path:
    """Return where a container's /etc/hosts lies outside."""
    return wanted.host.ml.with_name(f"{wanted.host.ml.name}-hosts")


def _name(wanted: Sequence[Wanted], hosts: str) -> None:
    for each in wanted:
        # The same file, as it is mounted; unless all has ended.
        with contextlib.suppress(FileNotFoundError), _hosts(each).open("r+") as file:
            file.write(hosts)


class Bare:
    """Runs containers as processes of this machine, for tests of the service's own states.

    They have no root of their own: /opt/ml in their command is where it lies outside.
    """

    lock: AbstractContextManager[object]

    def start(self, wanted: Sequence[Wanted]) -> list[Container]:
        return [_Process(each) for each in wanted]


class _Process:
    def __init__(self, wanted: Wanted) -> None:
        ml = str(wanted.host.ml)
        argv = [word.replace(ML, ml) for word in wanted.argv]
        argv[0] = shutil.which(argv[0]) or argv[0]
        self._process = subprocess.Popen(
            argv,
            env={**wanted.environ, "PATH": os.environ["PATH"], "ML": ml},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.output: IO[bytes] = self._process.stdout

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code
