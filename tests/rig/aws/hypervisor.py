"""Boots instances: each in a root, a network, a process tree and a host name of its own.

It is what a tests.rig.aws.machine.Hypervisor is. User data is run by cloud-init where this machine
has it, else as it would run a script: as root, in /, output to /var/log/cloud-init-output.log.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rig.aws import imds, overlay
from tests.rig.aws.namespace import BUNDLE, METADATA, PATH
from tests.rig.aws.overlay import Container, File
from tests.rig.aws.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tests.rig.aws.machine import Boot
    from tests.rig.aws.namespace import Namespace

OUTPUT = "/var/log/cloud-init-output.log"
SCRIPT = "/var/lib/cloud/instance/scripts/part-001"
BOOT = "/usr/sbin/rig-boot"
AGENT = "/usr/sbin/rig-ssm-agent"
AGENT_PROGRAM = Path(__file__).parent / "inside" / "ssm_agent.py"
HAS_CLOUD_INIT = shutil.which("cloud-init", path=PATH) is not None
BY_CLOUD_INIT = f"""\
#!/bin/sh
SSL_CERT_FILE={BUNDLE} {sys.executable} -S {AGENT} </dev/null >/dev/null 2>&1 &
exec >/dev/null
cloud-init init && cloud-init modules --mode=config && cloud-init modules --mode=final
exec sleep infinity
"""
BY_SHELL = f"""\
#!/bin/sh
SSL_CERT_FILE={BUNDLE} {sys.executable} -S {AGENT} </dev/null >/dev/null 2>&1 &
exec >>{OUTPUT} 2>&1
{SCRIPT} || echo "user data failed: $?"
exec sleep infinity
"""
# Its other modules set up a machine of which all is set up here.
CLOUD_INIT = """\
datasource_list: [Ec2]
network: {config: disabled}
cloud_init_modules: [write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
"""
# How it tells that this is EC2: by the BIOS's data, or by what a tool says that reads them.
SERIAL = "ec2f0000-0000-4000-8000-000000000000"
DMI = "/sys/class/dmi/id"
DMIDECODE = f"#!/bin/sh\necho {SERIAL}\n"
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
    service = imds.Service(machines.by_address)
    with serving(space.listener(METADATA, 80), service.answer):
        try:
            yield machines
        finally:
            machines.kill_all()


def _container(boot: Boot) -> Container:
    host = f"ip-{boot.address.replace('.', '-')}"
    hosts = f"127.0.0.1 localhost\n{boot.address} {imds.host_name(boot)} {host}\n"
    switch = File(SHUTDOWN.replace("* 60", f"* {boot.minute_s}").encode(), 0o755)
    return Container(
        name=boot.instance_id,
        argv=["/bin/sh", BOOT],
        environ={"PATH": PATH, "LANG": "C.UTF-8"},  # no HOME: systemd's services have none
        hostname=host,
        address=boot.address,
        files={
            AGENT: File(AGENT_PROGRAM.read_bytes()),
            "/etc/hostname": File(f"{host}\n".encode()),
            "/etc/hosts": File(hosts.encode()),
            **{f"/usr/sbin/{name}": switch for name in SWITCHES},
            **(_by_cloud_init() if HAS_CLOUD_INIT else _by_shell(boot.user_data)),
        },
    )


def _by_cloud_init() -> dict[str, File]:
    serial = File(f"{SERIAL}\n".encode())
    return {
        BOOT: File(BY_CLOUD_INIT.encode()),
        "/etc/cloud/cloud.cfg.d/99_rig.cfg": File(CLOUD_INIT.encode()),
        f"{DMI}/product_uuid": serial,
        f"{DMI}/product_serial": serial,
        "/usr/sbin/dmidecode": File(DMIDECODE.encode(), 0o755),
    }


def _by_shell(user_data: bytes) -> dict[str, File]:
    return {BOOT: File(BY_SHELL.encode()), SCRIPT: File(_script(user_data), 0o700)}


def _script(user_data: bytes) -> bytes:
    plain = gzip.decompress(user_data) if user_data.startswith(b"\x1f\x8b") else user_data
    if not plain:
        return b"#!/bin/sh\n"
    if not plain.startswith(b"#!"):
        return b"#!/bin/sh\necho 'the rig runs only scripts that begin with #!' >&2\nexit 1\n"
    return plain
