"""The virtual environment of a job: made by its setup, kept while what it was made from is."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Files that say what a setup installs, whether or not it names them.
REQUIREMENT_FILES = (
    "requirements*.txt",
    "constraints*.txt",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "*.lock",
    "environment*.y*ml",
)
READY = "llmcloud-ready"
OUTER = "llmcloud-outer.pth"
LINE_BYTES = 4096  # at most, of a program's first line


class SetupFailed(Exception):
    """The setup command ended with `exit_code`, which is not 0."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"setup ended with exit code {exit_code}")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Setup:
    """A job's setup command; `own` names an environment that can't be shared with later jobs."""

    script: str
    code: Path
    environments: Path
    own: str


def prepare(
    setup: Setup, run: Callable[[str, Path | None], int], pause: Callable[[], None]
) -> Path | None:
    """Return the folder of the job's virtual environment; None when the job has no setup.

    `run` executes a shell command in an environment and returns its exit code; `pause` waits a
    little while another job makes the same environment. Raises SetupFailed.
    """
    if not setup.script.strip():
        return None
    setup.environments.mkdir(parents=True, exist_ok=True)
    is_own = _installs_the_code(setup.script, setup.code)
    folder = setup.environments / (setup.own if is_own else key(setup.script, setup.code))
    with _lock(folder.with_suffix(".lock"), pause):
        if (folder / READY).exists():
            (folder / READY).touch()  # when it was last used
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        make = [sys.executable, "-m", "venv", "--system-site-packages", str(folder)]
        try:
            exit_code = run(shlex.join(make), None)
            if exit_code == 0:
                _show_outer(folder)
                exit_code = run(setup.script, folder)
            if exit_code == 0:
                (folder / READY).touch()
        finally:
            if not (folder / READY).exists():
                shutil.rmtree(folder, ignore_errors=True)
    if exit_code:
        raise SetupFailed(exit_code)
    return folder


def _show_outer(folder: Path) -> None:
    """Let an environment see what this Python sees, behind what will be installed into it."""
    packages = Path(sysconfig.get_path("purelib", "posix_prefix", {"base": str(folder)}))
    # Not the bare paths: so .pth files in there, such as those of editable installs, are read, too.
    lines = [f"import site; site.addsitedir({outer!r})\n" for outer in _outer_packages()]
    if lines:
        (packages / OUTER).write_text("".join(lines))
        _copy_programs(Path(sys.prefix, "bin"), folder / "bin")


def _copy_programs(outer: Path, own: Path) -> None:
    """Have programs such as torchrun run by the environment's Python: they name their own."""
    for program in outer.iterdir():
        target = own / program.name
        if target.exists() or not program.is_file():
            continue
        with program.open("rb") as file:
            if file.readline(LINE_BYTES).startswith(b"#!" + os.fsencode(outer / "python")):
                target.write_bytes(b"#!/usr/bin/env python\n" + file.read())
                target.chmod(0o755)


def key(setup: str, code: Path) -> str:
    """Return the name of the environment that these inputs make."""
    made_by = (sys.version, sys.executable, *_outer_packages(), setup)
    digest = hashlib.sha256("\0".join(made_by).encode())
    named = {code / word for word in _words(setup)}
    patterns = (code.glob(pattern) for pattern in REQUIREMENT_FILES)
    files = {path for paths in patterns for path in paths} | named
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:24]


def _outer_packages() -> list[str]:
    """Return where the packages of this Python lie; none where venv itself shows them.

    A virtual environment made from another one sees the packages of their common base alone, and
    containers and images for training have their framework in one.
    """
    if sys.prefix == sys.base_prefix:
        return []
    return [folder for folder in site.getsitepackages() if Path(folder).is_dir()]


def _installs_the_code(setup: str, code: Path) -> bool:
    """Tell whether a setup names a folder of the code, so that any change of code may matter."""
    folders = [code / word for word in _words(setup) if not Path(word).is_absolute()]
    return any(folder.is_dir() for folder in folders)


def _words(setup: str) -> list[str]:
    try:
        words = shlex.split(setup, comments=True)
    except ValueError:
        words = setup.split()
    bare = [word.rstrip(";").partition("[")[0] for word in words]  # .[extra] installs .
    return [word for word in bare if word and len(word) < 256 and "\0" not in word]


def activate(environ: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """Return `environ` with a virtual environment in front, as its activate script would."""
    if folder is None:
        return dict(environ)
    path = f"{folder / 'bin'}{os.pathsep}{environ.get('PATH', os.defpath)}"
    return {**environ, "VIRTUAL_ENV": str(folder), "PATH": path}


@contextlib.contextmanager
def _lock(path: Path, pause: Callable[[], None]) -> Iterator[None]:
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pause()
        yield
