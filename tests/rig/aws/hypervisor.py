"""Boots instances: each in a root, a network, a process tree and a host name of its own.

It is what a tests.rig.aws.machine.Hypervisor is. User data is run as Debian's cloud-init would run
a script: as root, in /, with its output in /var/log/cloud-init-output.log.
"""

from __future__ import annotations

import contextlib
import gzip
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.rig.aws import imds, overlay
from tests.rig.aws.namespace import METADATA, PATH
from tests.rig.aws.overlay import Container, File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from tests.rig.aws.machine import Boot
    from tests.rig.aws.namespace import Namespace

OUTPUT = "/var/log/cloud-init-output.log"
SCRIPT = "/var/lib/cloud/instance/scripts/part-001"
BOOT = "/var/lib/cloud/boot"
BOOTED = f"""\
#!/bin/sh
exec >>{OUTPUT} 2>&1
{SCRIPT} || echo "user data failed: $?"
exec sleep infinity
"""
# SIGPWR makes the first process switch off; a delay is in minutes, as shutdown(8) has it.
SHUTDOWN = """\
#!/bin/sh
later=/run/shutdown.pid
delay=0
case $(basename "$0") in shutdown) delay=1 ;; esac
for word; do
    case $word in
    -c) kill -- "-$(cat $later)"; rm -f $later; exit ;;
    now | +0) delay=0 ;;
    +*) delay=${word#+} ;;
    esac
done
[ "$delay" = 0 ] && exec kill -s PWR 1
exec >/dev/null 2>&1 </dev/null
setsid sh -c "echo \\$\\$ > $later; sleep $((delay * 60)); kill -s PWR 1" &
"""
SWITCHES = ("shutdown", "poweroff", "halt")  # no reboot: a machine boots once


@dataclass
class _Machine:
    metadata: imds.Metadata
    running: overlay.Running
    killed: threading.Event = field(default_factory=threading.Event)
    said: bytearray = field(default_factory=bytearray)


class Machines:
    """The instances of one namespace, booted and gone."""

    def __init__(self, space: Namespace) -> None:
        self.on_shutdown: Callable[[str], None] = lambda _: None
        self.by_address: dict[str, imds.Metadata] = {}  # those that run
        self._space = space
        self._machines: dict[str, _Machine] = {}

    def boot(self, boot: Boot) -> None:
        metadata = imds.Metadata(boot)
        self.by_address[boot.address] = metadata
        machine = _Machine(metadata, overlay.start(_container(boot), self._space))
        self._machines[boot.instance_id] = machine
        name = f"instance {boot.instance_id}"
        threading.Thread(target=self._watch, args=(machine,), name=name, daemon=True).start()

    def kill(self, instance_id: str) -> None:
        if machine := self._machines.get(instance_id):
            machine.killed.set()
            machine.running.kill()
            machine.running.wait()

    def notice(self, instance_id: str, action: str, time: datetime) -> None:
        self._machines[instance_id].metadata.notify(action, time)

    def console(self, instance_id: str) -> bytes:
        machine = self._machines[instance_id]
        with contextlib.suppress(FileNotFoundError):
            return bytes(machine.said) + machine.running.written(OUTPUT).read_bytes()
        return bytes(machine.said)

    def written(self, instance_id: str, path: str) -> Path:
        """Return where a file that an instance wrote is found, also when it is gone."""
        return self._machines[instance_id].running.written(path)

    def is_running(self, instance_id: str) -> bool:
        return self._machines[instance_id].running.poll() is None

    def kill_all(self) -> None:
        """End every machine."""
        for instance_id in list(self._machines):
            self.kill(instance_id)

    def _watch(self, machine: _Machine) -> None:
        while some := machine.running.output.read1(1 << 16):
            machine.said += some
        machine.running.wait()
        boot = machine.metadata.boot
        if self.by_address.get(boot.address) is machine.metadata:
            del self.by_address[boot.address]
        if not machine.killed.is_set():
            self.on_shutdown(boot.instance_id)


@contextlib.contextmanager
def running(space: Namespace) -> Iterator[Machines]:
    """Have machines with their metadata service; all are killed at the end."""
    machines = Machines(space)
    with imds.serving(space.listener(METADATA, 80), machines.by_address):
        try:
            yield machines
        finally:
            machines.kill_all()


def _container(boot: Boot) -> Container:
    host = f"ip-{boot.address.replace('.', '-')}"
    hosts = f"127.0.0.1 localhost\n{boot.address} {imds.host_name(boot)} {host}\n"
    switch = File(SHUTDOWN.encode(), 0o755)
    return Container(
        name=boot.instance_id,
        argv=["/bin/sh", BOOT],
        environ={"PATH": PATH, "LANG": "C.UTF-8"},  # no HOME: systemd's services have none
        hostname=host,
        address=boot.address,
        files={
            "/etc/hostname": File(f"{host}\n".encode()),
            "/etc/hosts": File(hosts.encode()),
            BOOT: File(BOOTED.encode(), 0o755),
            SCRIPT: File(_script(boot.user_data), 0o700),
            **{f"/usr/sbin/{name}": switch for name in SWITCHES},
        },
    )


def _script(user_data: bytes) -> bytes:
    plain = gzip.decompress(user_data) if user_data.startswith(b"\x1f\x8b") else user_data
    if not plain:
        return b"#!/bin/sh\n"
    if not plain.startswith(b"#!"):
        return b"#!/bin/sh\necho 'the rig runs only scripts that begin with #!' >&2\nexit 1\n"
    return plain
