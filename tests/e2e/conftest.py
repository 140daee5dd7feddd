"""A home of the test's own, the real command, and the promise that nothing runs on afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.waits import DEADLINE_S, eventually

from llmcloud.runtime import process
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Whoever started the tests in the background, or by nohup, has them ignore signals that the tests
# send, and all that the tests start ignores them as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

LLMCLOUD = [sys.executable, "-c", "from llmcloud.cli.app import main; main()"]
TAG = "LLMCLOUD_TAG"


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Bench:
    """One home, its store, and the commands that work on it."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def store(self) -> FileStore:
        return FileStore(self.home / "store")

    def job(self, name: str, run: str, more: str = "", **files: str) -> str:
        """Write a job file and the files beside it; return the job file's path."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        for file, text in files.items():
            (folder / file.replace("__", ".")).write_text(textwrap.dedent(text))
        script = textwrap.indent(textwrap.dedent(run).strip(), "  ")
        path = folder / "job.yaml"
        path.write_text(f"name: {name}\nrun: |\n{script}\n{textwrap.dedent(more)}")
        return str(path)

    def start(self, *args: str, env: Mapping[str, str] | None = None, **more: Any) -> Any:
        """Start a command and leave it running."""
        child = subprocess.Popen(
            [*LLMCLOUD, *args],
            env={**self.environ, **(env or {})},
            **{
                "cwd": self.root,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **more,
            },
        )
        self.started.append(child)
        return child

    def end(self, child: subprocess.Popen[bytes], timeout_s: float = DEADLINE_S) -> Done:
        out, err = child.communicate(timeout=timeout_s)
        return Done(child.returncode, (out or b"").decode(), (err or b"").decode())

    def cli(self, *args: str, env: Mapping[str, str] | None = None, **more: Any) -> Done:
        """Run a command to its end."""
        return self.end(self.start(*args, env=env, **more))

    def submit(self, path: str, *args: str, env: Mapping[str, str] | None = None) -> str:
        """Submit a job, detached, and return its id."""
        done = self.cli("submit", path, "--detach", "--json", *args, env=env)
        assert done.code == 0, done.err
        return str(done.document["job"])

    def status(self, job: str) -> dict[str, Any]:
        done = self.cli("status", job, "--json")
        assert done.code == 0, done.err
        found: dict[str, Any] = done.document
        return found

    def state(self, job: str) -> dict[str, Any]:
        """Return the state as it lies in the store: no process to start."""
        found: dict[str, Any] = json.loads(self.store.get(f"jobs/{job}/status.json").data)
        return found

    def log(self, job: str, attempt: int | None = None, node: int | None = None) -> str:
        """Return what the store has of a job's log, without times."""
        root = self.home / "store" / "jobs" / job / "logs"
        attempts = "*" if attempt is None else f"{attempt:04d}"
        nodes = "*" if node is None else f"{node:05d}"
        segments = sorted(root.glob(f"{attempts}/{nodes}/*"))
        lines = b"".join(path.read_bytes() for path in segments).split(b"\n")
        return "\n".join(line[16:].decode(errors="replace") for line in lines)

    def await_log(self, job: str, text: str, times: int = 1, **where: int) -> None:
        def enough() -> bool:
            return self.log(job, **where).count(text) >= times

        eventually(enough, f"{text!r} in the log of {job}: {self.log(job)}")

    def await_state(self, job: str, *states: str) -> dict[str, Any]:
        eventually(lambda: self.state(job)["state"] in states, f"{job} is one of {states}")
        return self.state(job)

    def work(self, job: str, rank: int = 0) -> Path:
        """Return the folder of a node."""
        return self.home / "nodes" / job / f"node-{rank}"

    def processes(self, job: str = "") -> dict[int, str]:
        """Return the command lines of a job's processes (of all jobs here) by pid."""
        mine = str(self.home / "nodes" / job).encode()
        found = {}
        for proc in Path("/proc").glob("[0-9]*"):
            pid = int(proc.name)
            try:
                environ = (proc / "environ").read_bytes().split(b"\0")
                argv = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            tags = [
                each[len(TAG) + 1 :] for each in environ if each.startswith(TAG.encode() + b"=")
            ]
            if any(tag.startswith(mine) for tag in tags) and process.identify(pid).is_alive:
                found[pid] = argv
        return found

    def keeper(self, job: str) -> int:
        return int(json.loads((self.home / "nodes" / job / "keeper.json").read_text())["pid"])

    def runtimes(self, job: str) -> dict[int, int]:
        """Return the pids of the node runtimes by rank."""
        found = {}
        for pid, argv in self.processes(job).items():
            words = argv.split()
            if "/runtime-" in argv and "--rank" in words:
                found[int(words[words.index("--rank") + 1])] = pid
        return found

    def environments(self) -> list[Path]:
        """Return the folders of the jobs' virtual environments."""
        found = (self.home / "venvs").glob("*/")
        return [path for path in found if not path.name.startswith("runtime-")]

    def await_nothing_running(self, job: str = "") -> None:
        eventually(lambda: not self.processes(job), f"no process left: {self.processes(job)}")


def contains(folders: list[Path], text: str) -> list[Path]:
    """Return the files under some folders that hold a text, by name or by content."""
    found = []
    for folder, _, names in (each for top in folders for each in os.walk(top)):
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # it went while we looked
                if text in path.name or text.encode() in path.read_bytes():
                    found.append(path)
    return found


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Bench]:
    """Yield a bench at a folder; afterwards none of its jobs' processes may be there."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    kept += ("NO_GCE_CHECK",)
    environ = {name: os.environ[name] for name in kept if name in os.environ}
    made = Bench(root, {**environ, "LLMCLOUD_HOME": str(root / "home")})
    try:
        yield made
        made.await_nothing_running()
    finally:
        for child in made.started:
            if child.poll() is None:
                child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe:
                    pipe.close()
        for pid in made.processes():
            process.send(pid, signal.SIGKILL)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Give the test a home of its own."""
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def small_disk(bench: Bench) -> Iterator[Path]:
    """Mount a disk of 3 MB."""
    disk = bench.root / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("only root may mount a tmpfs")
    yield disk
    bench.await_nothing_running()
    subprocess.run(["umount", str(disk)], check=True)
