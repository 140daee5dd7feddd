"""Run a command in a root filesystem of its own: an overlay over this machine's.

What it writes stays in memory and ends with the rig; what it runs ends with it, or with the rig.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.rig.aws.namespace import Namespace

# Where the tests' Python is, which must be there inside; and what is empty inside else.
PYTHONS = (Path(sys.prefix), Path(sys.base_prefix))
HIDDEN = {"tmp", "run", "mnt", "srv", "media"}
ROOT_INIT = Path(__file__).parent / "inside" / "root_init.py"


@dataclass(frozen=True)
class File:
    """A file to be written into the root before the command starts."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Container:
    """What to run: `name` must be new to the rig; `environ` is the whole environment.

    `address` (a private IPv4) puts it on the rig's network, None on none. `binds` maps folders or
    files of this machine to paths inside, writable. Names resolve and TLS is trusted as in the rig.
    """

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    hostname: str = "container"
    address: str | None = None
    folder: str = "/"
    binds: Mapping[Path, str] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)


class Running:
    """A container that was started: `output` is the pipe of its stdout and stderr together."""

    def __init__(self, process: subprocess.Popen[bytes], scratch: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.output: IO[bytes] = process.stdout
        self._process = process
        self._control = process.stdin
        self._lock = threading.Lock()
        self._scratch = scratch
        for pipe in (process.stdin, process.stdout):
            weakref.finalize(self, pipe.close)

    def signal(self, number: int) -> None:
        """Send a signal to the command (not to its children); nothing happens once it ended."""
        with self._lock:
            if not self._control.closed:
                _send(self._control, f"{number}\n".encode())

    def kill(self) -> None:
        """End all of its processes now."""
        with self._lock:
            if not self._control.closed:
                self._control.close()

    def poll(self) -> int | None:
        """Return how the command ended: its exit code, 128 + a signal, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end, and return the exit code; subprocess.TimeoutExpired when late."""
        return self._process.wait(timeout_s)

    def written(self, path: str) -> Path:
        """Return where a file that was written inside is found outside, as long as the rig is up.

        Paths under /tmp, /run, /dev and binds are not kept there.
        """
        inside = PurePosixPath(path).relative_to("/")
        above = self._scratch / "upper" / inside
        return above if above.exists() else self._scratch / "root" / inside


def start(container: Container, space: Namespace) -> Running:
    """Start a command in its own root inside the rig's namespace."""
    scratch = space.scratch / "roots" / container.name
    process = space.popen(
        [sys.executable, "-S", str(ROOT_INIT)],
        environ={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    specification = json.dumps(
        {
            "scratch": str(scratch),
            "argv": list(container.argv),
            "environ": dict(container.environ),
            "hostname": container.hostname,
            "address": container.address,
            "routes": list(space.routes),
            "bridge": space.bridge,
            "folder": container.folder,
            "binds": [
                *([str(each), str(each)] for each in PYTHONS if each.parts[1] in HIDDEN),
                *([str(source), target] for source, target in container.binds.items()),
            ],
            "files": [
                [path, base64.b64encode(file.content).decode(), file.mode]
                for path, file in ({**space.files, **container.files}).items()
            ],
        }
    )
    _send(process.stdin, specification.encode() + b"\n")
    return Running(process, space.path(scratch))


def _send(pipe: IO[bytes], line: bytes) -> None:
    try:
        pipe.write(line)
        pipe.flush()
    except BrokenPipeError:  # it has ended, and its exit code and output say why
        pass
