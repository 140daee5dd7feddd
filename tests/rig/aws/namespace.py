"""The rig's own network, mounts and processes, with no way out; for root and for other users.

A small process inside holds the namespaces and hands out sockets that listen there, so that what
serves AWS stays in this process. When this process ends, however, all that is inside ends too.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
from tests.rig.aws import overlay
from tests.rig.aws.overlay import File
from tests.rig.emulators import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SPACE_INIT = Path(__file__).parent / "inside" / "space_init.py"
SERVICES = "198.18.0.1"  # all of AWS; from the range for benchmarks, RFC 2544
RESOLVER = "169.254.169.253"  # as in a VPC
METADATA = "169.254.169.254"
CREDENTIALS = "169.254.170.2"  # a container's
ADDRESSES = (SERVICES, RESOLVER, METADATA, CREDENTIALS)
BRIDGE = "rig0"
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")  # where instances are
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PREFIX = "llmcloud-rig-"
PACKET_BYTES = 1 << 16
REGIONS = botocore.session.Session().get_available_regions("ec2")
CERTIFIED = [  # `*` stands for one label
    "*.amazonaws.com",
    "*.s3.amazonaws.com",
    *(f"*.{each}.amazonaws.com" for each in REGIONS),
    *(f"*.s3.{each}.amazonaws.com" for each in REGIONS),
    *(f"*.sagemaker.{each}.amazonaws.com" for each in REGIONS),
    *(f"*.pricing.{each}.amazonaws.com" for each in REGIONS),
]
NAMES = """\
passwd: files
group: files
shadow: files
hosts: files dns
"""


class Unavailable(Exception):
    """This machine or user cannot have such namespaces; the message says why."""


@dataclass(frozen=True)
class Namespace:
    """Namespaces that are up: `pid` is their first process, `scratch` in memory inside only."""

    pid: int
    scratch: Path
    tls: certificates.Certificates
    files: Mapping[str, File]  # that names and trust need, in any root inside
    _channel: _Channel
    bridge: str = BRIDGE
    routes: Sequence[str] = (*(f"{each}/32" for each in ADDRESSES), *PRIVATE)

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that make SDKs trust the rig, and know no other AWS."""
        return {
            "AWS_CA_BUNDLE": BUNDLE,
            "SSL_CERT_FILE": BUNDLE,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def listener(self, address: str, port: int) -> socket.socket:
        """Return a TCP socket that listens inside."""
        return self._channel.listener(address, port)

    def path(self, inside: Path) -> Path:
        """Return where a path inside is found from outside."""
        return Path(f"/proc/{self.pid}/root") / inside.relative_to("/")

    def command(self, argv: Sequence[str], folder: Path | None = None) -> list[str]:
        """Return what runs a command inside; it ends when the rig does."""
        at = os.fspath(folder or Path.cwd())
        return [*entering(self.pid), "env", f"--chdir={at}", *argv]

    def popen(
        self, argv: Sequence[str], environ: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a command inside; `environ` is all of its environment, by default ours."""
        env = {**os.environ, **self.environ} if environ is None else {"PATH": PATH, **environ}
        return subprocess.Popen(self.command(argv), env=env, **options)

    def run(
        self, argv: Sequence[str], environ: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end, and return what it printed."""
        env = {**os.environ, **self.environ, **(environ or {})}
        return subprocess.run(
            self.command(argv),
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@contextlib.contextmanager
def opened() -> Iterator[Namespace]:
    """Make the namespaces, with a resolver in them; Unavailable says why there are none."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    try:
        scratch = folder / "scratch"
        scratch.mkdir()
        tls = certificates.issue(folder, CERTIFIED)
        files = _files(tls)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                process = _start(theirs)
            try:
                channel = _Channel(ours, process)
                pid = channel.begin(scratch, files)
                yield Namespace(pid, scratch, tls, files, channel)
            finally:
                process.kill()  # and with it the first process inside, and so all others
                process.communicate()
    finally:
        shutil.rmtree(folder)


def sweep() -> None:
    """Remove the folders that a killed rig has left: empty ones, and its certificates."""
    for each in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = each.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            shutil.rmtree(each, ignore_errors=True)  # another user's stays


def entering(pid: int) -> list[str]:
    """Return the beginning of a command that is to run in the namespaces of a process."""
    own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    kinds = ["--net", "--mount", "--pid", "--ipc", "--uts"]
    return ["nsenter", f"--target={pid}", *own, *kinds]


def _files(tls: certificates.Certificates) -> dict[str, File]:
    return {
        "/etc/hosts": File(b"127.0.0.1 localhost\n::1 localhost\n"),
        "/etc/resolv.conf": File(f"nameserver {RESOLVER}\n".encode()),
        "/etc/nsswitch.conf": File(NAMES.encode()),
        BUNDLE: File(tls.authority.read_bytes()),
    }


def _start(channel: socket.socket) -> subprocess.Popen[str]:
    for tool, package in {
        "unshare": "util-linux",
        "nsenter": "util-linux",
        "ip": "iproute2",
    }.items():
        if shutil.which(tool, path=PATH) is None:
            raise Unavailable(f"{tool} of {package} is not installed")
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    kinds = ["--net", "--mount", "--pid", "--ipc", "--uts"]
    return subprocess.Popen(
        ["unshare", *own, *kinds, "--fork", "--kill-child", sys.executable, "-S", str(SPACE_INIT)],
        env={"PATH": PATH},
        stdin=channel,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class _Channel:
    """How we ask the first process inside."""

    def __init__(self, ours: socket.socket, process: subprocess.Popen[str]) -> None:
        self._ours = ours
        self._process = process
        self._lock = threading.Lock()

    def begin(self, scratch: Path, files: Mapping[str, File]) -> int:
        """Have the namespaces made ready, and return the number of their first process."""
        wanted = {
            "scratch": str(scratch),
            "files": {path: file.content.decode() for path, file in files.items()},
            "bridge": BRIDGE,
            "addresses": ADDRESSES,
            "routes": PRIVATE,
            "services": SERVICES,
            "resolver": RESOLVER,
        }
        reply, _ = self._ask(wanted)
        return int(reply["pid"])

    def listener(self, address: str, port: int) -> socket.socket:
        _, fds = self._ask({"address": address, "port": port})
        return socket.socket(fileno=fds[0])

    def _ask(self, wanted: Mapping[str, object]) -> tuple[dict[str, Any], list[int]]:
        with self._lock:
            try:
                self._ours.send(json.dumps(wanted).encode())
                packet, fds, _, _ = socket.recv_fds(self._ours, PACKET_BYTES, 1)
            except (BrokenPipeError, ConnectionResetError):
                packet, fds = b"", []
        if not packet:
            assert self._process.stderr is not None
            raise Unavailable(f"the namespaces ended: {self._process.stderr.read().strip()}")
        reply = json.loads(packet)
        if "error" in reply:
            raise Unavailable(reply["error"])
        return reply, fds


@functools.cache
def unavailable() -> str | None:
    """Say why this machine or user cannot have the rig's namespaces; None when it can."""
    try:
        with opened() as space:
            probe = overlay.start(overlay.Container("probe", ["true"], {"PATH": PATH}), space)
            said = probe.output.read().decode().strip()
            if probe.wait() != 0:
                return f"no root filesystems for the rig's machines: {said.splitlines()[-1]}"
            return None
    except Unavailable as reason:
        return f"no namespaces for the rig: {reason}"
