"""What a node of another machine needs of ours beside the standard library: obstore, for its kind.

It is taken from this installation where that is alike, and from the package index elsewhere.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.runtime.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "obstore"
TAGS = {"x86_64": "manylinux_2_17_x86_64", "arm64": "manylinux_2_17_aarch64"}  # of its wheels
MACHINES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
PYTHON = "3.11"  # the oldest that it runs on, and so a node


def files(architecture: str) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, in the order of the names; Unavailable if they can't be had."""
    is_alike = sys.platform == "linux" and MACHINES.get(platform.machine()) == architecture
    if is_alike and platform.libc_ver()[0] == "glibc":
        yield from _installed()
    else:
        yield from _downloaded(architecture)


def _installed() -> Iterator[tuple[str, bytes]]:
    for path in sorted(metadata.files(PACKAGE) or (), key=str):
        if path.parts[0] == PACKAGE and path.suffix in {".py", ".so"}:
            yield path.as_posix(), Path(str(path.locate())).read_bytes()


def _downloaded(architecture: str) -> Iterator[tuple[str, bytes]]:
    wanted = f"{PACKAGE}=={metadata.version(PACKAGE)}"
    with tempfile.TemporaryDirectory(prefix="llmcloud-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wanted]
        command += ["--only-binary=:all:", f"--platform={TAGS[architecture]}"]
        command += [f"--python-version={PYTHON}", "--dest", folder]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise Unavailable(
                f"The node needs {wanted} for {TAGS[architecture]}, which pip can't download.",
                where=(done.stderr.strip().splitlines() or ["pip said nothing"])[-1],
                fix="Submit where the package index can be reached, or from Linux.",
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name in sorted(wheel.namelist()):
                if name.startswith(f"{PACKAGE}/") and name.endswith((".py", ".so")):
                    yield name, wheel.read(name)
