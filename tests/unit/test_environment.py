"""The virtual environment of a job: when it is kept, when it is made anew."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from llmcloud.runtime import environment
from llmcloud.runtime.environment import READY, Setup, SetupFailed, activate, key, prepare

SOURCES = Path(__file__).parents[2] / "src"
# What a job's machine does, by the Python of an environment: `prepare` with a real setup.
PREPARES = """
import os, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from llmcloud.runtime.environment import Setup, activate, prepare
def run(script, folder):
    return subprocess.call(["sh", "-ec", script], env=activate(os.environ, folder))
code, environments = Path(sys.argv[2]), Path(sys.argv[3])
print(prepare(Setup(sys.argv[4], code, environments, "own"), run, None))
"""


class Machine:
    """Runs nothing; remembers what it was asked to run, and makes the folders that venv would."""

    def __init__(self, root: Path, *exit_codes: int) -> None:
        self.root, self.exit_codes = root, list(exit_codes)
        self.code = root / "code"
        self.code.mkdir(exist_ok=True)
        self.ran: list[str] = []
        self.pauses = 0

    def prepare(self, script: str, own: str = "own-0") -> Path | None:
        return prepare(Setup(script, self.code, self.root / "venvs", own), self.run, self.pause)

    def run(self, script: str, folder: Path | None) -> int:
        self.ran.append(script if folder else "venv")
        if folder is None:
            name = script.rsplit(maxsplit=1)[-1].rpartition("/")[2]
            made = self.root / "venvs" / name
            for each in (_packages_of(made), made / "bin"):
                each.mkdir(parents=True)
        return self.exit_codes.pop(0) if self.exit_codes else 0

    def pause(self) -> None:
        self.pauses += 1
        raise InterruptedError

    @property
    def made(self) -> list[Path]:
        return [path for path in (self.root / "venvs").iterdir() if path.is_dir()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("script", ["", "  \n"])
def test_a_job_without_setup_needs_none(machine: Machine, script: str) -> None:
    assert machine.prepare(script) is None
    assert machine.ran == []


def test_one_is_made_once_and_kept_while_its_inputs_are(machine: Machine) -> None:
    (machine.code / "requirements.txt").write_text("numpy")
    (machine.code / "train.py").write_text("1")
    first = machine.prepare("pip install -r requirements.txt")
    (machine.code / "train.py").write_text("2")
    assert machine.prepare("pip install -r requirements.txt") == first
    assert machine.ran == ["venv", "pip install -r requirements.txt"]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "uv.lock", "make.sh"])
def test_another_content_of_what_it_is_made_from_makes_another(machine: Machine, name: str) -> None:
    script = "bash make.sh"
    (machine.code / name).write_text("one")
    first = key(script, machine.code)
    (machine.code / name).write_text("two")
    assert key(script, machine.code) != first


def test_another_command_makes_another(machine: Machine) -> None:
    assert key("pip install a", machine.code) != key("pip install b", machine.code)


@pytest.mark.parametrize("script", ["pip install -e .", "pip install .[dev]", "cd pkg; make"])
def test_one_that_installs_the_code_is_the_jobs_own(machine: Machine, script: str) -> None:
    (machine.code / "pkg").mkdir()
    found = machine.prepare(script)
    assert found
    assert found.name == "own-0"


@pytest.mark.parametrize("exit_codes", [(1,), (0, 4)])
def test_one_that_fails_leaves_nothing(tmp_path: Path, exit_codes: tuple[int, ...]) -> None:
    machine = Machine(tmp_path, *exit_codes)
    with pytest.raises(SetupFailed) as failed:
        machine.prepare("pip install nothing")
    assert failed.value.exit_code == exit_codes[-1]
    assert machine.made == []


def test_one_that_was_cut_off_is_not_used(machine: Machine) -> None:
    """A kill leaves it without the mark of being ready."""
    whole = machine.prepare("pip install a")
    assert whole
    (whole / READY).unlink()
    (whole / "half").touch()
    assert machine.prepare("pip install a") == whole
    assert not (whole / "half").exists()
    assert machine.ran.count("venv") == 2


def test_a_stop_in_the_middle_leaves_nothing(machine: Machine) -> None:
    def stopped(script: str, folder: Path | None) -> int:
        machine.run(script, folder)
        raise KeyboardInterrupt

    setup = Setup("pip install a", machine.code, machine.root / "venvs", "own")
    with pytest.raises(KeyboardInterrupt):
        prepare(setup, stopped, machine.pause)
    assert machine.made == []


def test_one_that_another_job_makes_is_waited_for_and_the_wait_can_end(machine: Machine) -> None:
    folder = machine.root / "venvs" / key("pip install a", machine.code)
    folder.parent.mkdir()
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InterruptedError):
            machine.prepare("pip install a")
    assert (machine.pauses, machine.ran) == (1, [])


def test_an_environment_comes_first_on_the_path(tmp_path: Path) -> None:
    found = activate({"PATH": "/usr/bin", "A": "b"}, tmp_path)
    assert found["PATH"] == f"{tmp_path}/bin:/usr/bin"
    assert (found["VIRTUAL_ENV"], found["A"]) == (str(tmp_path), "b")
    assert activate({"PATH": "/usr/bin"}, None) == {"PATH": "/usr/bin"}


def test_a_setup_that_no_shell_can_read_has_a_key_all_the_same(machine: Machine) -> None:
    assert environment.key("echo 'unfinished \0 " + "x" * 5000, machine.code)


def test_what_a_jobs_python_sees_is_seen_behind_what_its_setup_installs(tmp_path: Path) -> None:
    """Images have their framework in a virtual environment, which one made from it loses."""
    outer, code, elsewhere = (tmp_path / name for name in ("outer", "code", "elsewhere"))
    venv.create(outer)
    packages = _packages_of(outer)
    for name in ("framework", "both"):
        (packages / f"{name}.py").write_text("whose = 'outer'")
    for folder in (code, elsewhere):
        folder.mkdir()
    for name, first in (("launch", f"#!{outer}/bin/python3.11"), ("other", "#!/bin/sh")):
        (outer / "bin" / name).write_text(f"{first}\nimport both; print(both.whose)\n")
        (outer / "bin" / name).chmod(0o755)
    (packages / "editable.pth").write_text(str(elsewhere))
    (elsewhere / "edited.py").write_text("whose = 'elsewhere'")
    (code / "both.py.new").write_text("whose = 'setup'")
    setup = (
        'python -m both; cp both.py.new "$(echo $VIRTUAL_ENV/lib/python*/site-packages)/both.py"'
    )

    said = subprocess.check_output(
        [outer / "bin/python", "-c", PREPARES, SOURCES, code, tmp_path / "venvs", setup],
        cwd=code,
        text=True,
    )
    made = Path(said.splitlines()[-1])
    asks = "import both, edited, framework as f; print(both.whose, edited.whose, f.whose)"
    seen = subprocess.check_output([made / "bin/python", "-c", asks], text=True)
    assert seen.split() == ["setup", "elsewhere", "outer"]
    environ = activate(os.environ, made)
    launched = subprocess.check_output(["launch"], env=environ, text=True)
    assert launched == "setup\n"
    assert not (made / "bin" / "other").exists()


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="runs in a virtual environment")
def test_other_packages_behind_it_make_another(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was made by a version that did not show them is not used again."""
    seeing = key("pip install a", machine.code)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert key("pip install a", machine.code) != seeing


def _packages_of(folder: Path) -> Path:
    """Return where the packages of a virtual environment lie."""
    return Path(sysconfig.get_path("purelib", "posix_prefix", {"base": str(folder)}))
