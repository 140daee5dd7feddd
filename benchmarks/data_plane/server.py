"""The object store that transfers are measured against: C, compiled at first use, on loopback."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).parent
PROGRAM = SOURCES.parents[1] / "build" / "data_plane_server"
COMPILER = ("cc", "-O2", "-Wall", "-Wextra", "-std=gnu11")
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


@contextmanager
def serving(reserved_mib: int = 0) -> Iterator[str]:
    """Serve until the block ends, and yield the URL: for S3 and GCS, and with /ACCOUNT for Azure.

    Memory not reserved is slow at its first use: reserve what a measurement will store.
    """
    process, url = start(reserved_mib)
    try:
        yield url
    finally:
        process.kill()
        process.communicate()


def start(reserved_mib: int = 0) -> tuple[subprocess.Popen[str], str]:
    """Return the server's process and URL; it is the caller's to kill, and ends with its thread."""
    process = subprocess.Popen(
        [compiled(), "0", str(reserved_mib)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | HUGE_PAGES,
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    if not port:
        raise RuntimeError(f"{PROGRAM} named no port and ended with {process.wait()}")
    return process, f"http://127.0.0.1:{port}"


def compiled() -> Path:
    """Return the program, built again if a source is newer."""
    newest_ns = max(source.stat().st_mtime_ns for source in SOURCES.glob("*.[ch]"))
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime_ns < newest_ns:
        PROGRAM.parent.mkdir(exist_ok=True)
        subprocess.run([*COMPILER, "-o", PROGRAM, *sorted(SOURCES.glob("*.c"))], check=True)
    return PROGRAM
