"""A host of a SageMaker training job: what the service lays out below /opt/ml, and its role."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcloud.runtime import status
from llmcloud.runtime.errors import Unavailable
from llmcloud.runtime.machines.aws import TIMEOUT_S, Instance
from llmcloud.runtime.status import State
from llmcloud.runtime.task import LINK

if TYPE_CHECKING:
    import argparse

    from llmcloud.runtime.machines import Machine
    from llmcloud.runtime.seat import Seat
    from llmcloud.runtime.store import ObjectStore
    from llmcloud.runtime.task import DataSource, Task

ML = Path("/opt/ml")
CHANNEL = "data-{number}"  # of the data source of that number, counted from 0
CREDENTIALS = "http://169.254.170.2"
CREDENTIALS_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
NAMES_S, NAMES_POLL_S = 900.0, 0.5
KILLED_S = 150.0  # after SIGTERM; the service says two minutes
REASON_CHARACTERS = 1024  # that the service keeps of a failure
CUDA_COMPAT = Path("/usr/local/cuda/compat")
DRIVER = Path("/sys/module/nvidia/version")
FAILED = {State.FAILED, State.LOST}


def make(options: argparse.Namespace) -> Machine:
    """Return the host that this is."""
    return Host(options.job)


class Host(Instance):
    """This container, by what the service has put beside it; it is Stopped or restarted as one."""

    def __init__(self, job: str, ml: Path = ML) -> None:
        super().__init__(job)
        self._ml = ml
        self._store: ObjectStore | None = None
        self._config: dict[str, Any] = json.loads(
            (ml / "input" / "config" / "resourceconfig.json").read_text()
        )

    @property
    def host(self) -> str:
        """Return its address: names need not be known yet, neither to the others nor here.

        Unavailable when its own is not within the quarter of an hour that AWS's own tools wait.
        """
        name = self._config["current_host"]
        deadline = time.monotonic() + NAMES_S
        while True:
            try:
                return socket.gethostbyname(name)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Unavailable(f"{name}, this host, has no address.", where=name) from error
            time.sleep(NAMES_POLL_S)

    def rank(self, store: ObjectStore, task: Task) -> int:
        self._store = store
        return hosts(self._config, task.roles).index(self._config["current_host"])

    def furnish(self, seat: Seat) -> Seat:
        """Return the seat with its data in the channels, and checkpoints where the service looks.

        What it prints goes to CloudWatch, where those look who know the service and not us.
        Each node has a folder of its own: the service keeps those of all hosts in one place.
        """
        interface = self._config["network_interface_name"]
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, interface)
        prefer_cuda_compat()
        channels = tuple(
            dataclasses.replace(
                source,
                source=self._channel(number, source),
                mode="mount" if source.mode == "mount" else LINK,
            )
            for number, source in enumerate(seat.task.data)
        )
        kept = self._ml / "checkpoints" / f"{seat.rank:05d}"
        kept.mkdir(parents=True, exist_ok=True)
        task = dataclasses.replace(seat.task, data=channels)
        return dataclasses.replace(seat, task=task, kept=kept, echoes=True)

    def is_leaving(self) -> bool:
        return False  # SIGTERM is all the notice there is

    def give_up(self) -> None:
        """Stay until the service kills this container, and starts all hosts of the job again.

        One that ends by itself may be taken for done.
        """
        time.sleep(KILLED_S)
        self.exit_code = 1

    def retire(self, *, last: bool) -> None:
        """Let the service know how the job ended; one failed host fails it."""
        if not last or self._store is None:
            return
        ended = status.read(self._store, self._job)
        if ended.state in FAILED:
            reason = (ended.error or "The job failed.")[:REASON_CHARACTERS]
            (self._ml / "output" / "failure").write_text(reason)
            self.exit_code = 1

    def _channel(self, number: int, source: DataSource) -> str:
        """Return the URL of where a data source lies: of one object, the file of its name."""
        folder = self._ml / "input" / "data" / CHANNEL.format(number=number)
        name = source.source.rpartition("/")[2]
        one = folder / name
        return (one if name and one.is_file() else folder).as_uri()

    def _region(self) -> str:
        return os.environ["AWS_REGION"]

    def _keys(self) -> dict[str, str]:
        url = CREDENTIALS + os.environ[CREDENTIALS_URI]
        try:
            with self._local.open(urllib.request.Request(url), timeout=TIMEOUT_S) as found:  # noqa: S310
                said = json.load(found)
        except OSError as error:
            raise Unavailable(
                f"The role's credentials can't be had: {error}.", where=url
            ) from error
        return {
            "access_key_id": said["AccessKeyId"],
            "secret_access_key": said["SecretAccessKey"],
            "token": said["Token"],
        }


def hosts(config: dict[str, Any], roles: tuple[str, ...]) -> list[str]:
    """Return the hosts of a job in the order of their ranks.

    A group is called as the role of its hosts; where there is one group, it has all roles.
    """
    groups = {each["instance_group_name"]: each["hosts"] for each in config["instance_groups"]}
    if len(groups) == 1:
        return _by_number(config["hosts"])
    return [host for role in dict.fromkeys(roles) for host in _by_number(groups[role])]


def _by_number(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: int(name.rpartition("-")[2]))


def prefer_cuda_compat() -> None:
    """Take the image's CUDA driver library where it is newer than the host's driver.

    The image's own entry point would, which ours has replaced; see "CUDA Forward Compatibility" in
    aws.github.io/deep-learning-containers/pytorch.
    """
    library = CUDA_COMPAT / "libcuda.so.1"
    if not (library.exists() and DRIVER.is_file()):
        return
    brought = _version(library.resolve().name.partition(".so.")[2])
    if brought > _version(DRIVER.read_text()):
        before = os.environ.get("LD_LIBRARY_PATH")
        os.environ["LD_LIBRARY_PATH"] = f"{CUDA_COMPAT}:{before}" if before else str(CUDA_COMPAT)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.strip().split(".") if word.isdigit())
