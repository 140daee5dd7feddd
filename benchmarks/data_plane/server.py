"""The object store that the transfers are measured against: C, compiled on first use and run on loopback."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).parent
PROGRAM = SOURCES.parents[1] / "build" / "data_plane_server"
COMPILER = ("cc", "-O2", "-Wall", "-Wextra", "-std=gnu11")


@contextmanager
def serving() -> Iterator[str]:
    """The endpoint's URL; buckets are its first path segment, for Azure accounts are. All is lost at the end."""
    process, url = start()
    try:
        yield url
    finally:
        process.kill()
        process.wait()


def start() -> tuple[subprocess.Popen[str], str]:
    """The server's process, which the caller kills, and its URL. It also ends with the calling thread."""
    process = subprocess.Popen([compiled()], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    if not port:
        raise RuntimeError(f"{PROGRAM} said no port: exit code {process.wait()}")
    return process, f"http://127.0.0.1:{port}"


def compiled() -> Path:
    """The program, built again if a source is newer."""
    newest = max(source.stat().st_mtime_ns for source in SOURCES.glob("*.[ch]"))
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime_ns < newest:
        PROGRAM.parent.mkdir(exist_ok=True)
        subprocess.run([*COMPILER, "-o", PROGRAM, *sorted(SOURCES.glob("*.c"))], check=True)
    return PROGRAM
