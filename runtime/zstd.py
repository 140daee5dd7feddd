"""Reading zstd with what a node has: Python 3.14, the package zstandard, or the program zstd."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

LIBRARIES = ("compression.zstd", "zstandard")  # alike as far as they are used here


class Damaged(Exception):
    """The bytes are no zstd; one that was cut off may also just end."""


def reading(path: Path) -> AbstractContextManager[Any]:
    """Open a zstd file to read what it holds; Failure when nothing here can."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            return _by_library(importlib.import_module(name), path)
    program = shutil.which("zstd")
    if not program:
        raise Failure(
            "This node has nothing to unpack zstd with.",
            where=path.name,
            fix="Install the package zstd (apt-get install zstd), zstandard (pip install "
            "zstandard), or Python 3.14, for the Python that runs the node.",
        )
    return _by_program(program, path)


@contextlib.contextmanager
def _by_library(library: Any, path: Path) -> Iterator[Any]:
    try:
        with library.open(path, "rb") as file:
            yield file
    except (library.ZstdError, EOFError) as error:
        raise Damaged from error


@contextlib.contextmanager
def _by_program(program: str, path: Path) -> Iterator[Any]:
    """Let the program unpack into a pipe; what is damaged just ends early."""
    with (
        path.open("rb") as file,
        subprocess.Popen(
            [program, "-dcq"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as child,
    ):
        yield child.stdout
