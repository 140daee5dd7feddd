"""How busy the machine is: CPU, memory, GPUs, disk; of Linux's /proc and nvidia-smi."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
NVIDIA_SMI = "nvidia-smi"
NVIDIA_TIMEOUT_S = 5.0
MIB = 1 << 20
GPU_FIELDS = "index,name,memory.total,memory.used,utilization.gpu"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU; what its driver does not tell is None."""

    index: int
    name: str
    memory_total_bytes: int
    memory_used_bytes: int | None = None
    utilization_percent: float | None = None


@dataclass(frozen=True)
class Usage:
    """One sample; what the system does not tell is None.

    `cpu_percent` is of the whole machine, 0 to 100; `job_cpu_percent` is of the job's processes,
    100 a core. Memory is the container's where it is limited.
    """

    cpu_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    job_cpu_percent: float | None = None
    job_memory_bytes: int | None = None
    disk_free_bytes: int | None = None
    gpus: tuple[Gpu, ...] = ()

    def to_document(self) -> dict[str, object]:
        """Return the sample as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Usage:
        """Read a sample; what a newer version or a damaged one has otherwise is not known."""
        gpus = document.get("gpus")
        found = [_gpu(each) for each in gpus] if isinstance(gpus, (list, tuple)) else []
        return cls(**{**_numbers(cls, document), "gpus": tuple(gpu for gpu in found if gpu)})


class Sampler:
    """Samples the machine and the process tree under `pid`, which is this process by default.

    Speeds are since the last sample.
    """

    def __init__(
        self,
        folder: Path,
        pid: int | None = None,
        proc: Path = PROC,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._folder = folder
        self._proc = proc
        self._clock = clock
        self._machine: tuple[int, int] | None = None
        self._job: tuple[float, dict[int, int]] | None = None
        self._gpu_absent = False

    def sample(self) -> Usage:
        """Return the use since the last call; the first has no CPU figures."""
        used, total = self._memory()
        job_percent, job_bytes = self._sample_job()
        found = () if self._gpu_absent else tuple(gpus())
        self._gpu_absent = not found
        return Usage(
            cpu_percent=self._sample_machine(),
            memory_used_bytes=used,
            memory_total_bytes=total,
            job_cpu_percent=job_percent,
            job_memory_bytes=job_bytes,
            disk_free_bytes=_disk_free(self._folder),
            gpus=found,
        )

    def _memory(self) -> tuple[int | None, int | None]:
        used, total = parse_meminfo(_text(self._proc / "meminfo"))
        limit = parse_limit(_text(CGROUP / "memory.max"))
        if limit is not None and total is not None and limit < total:
            return parse_limit(_text(CGROUP / "memory.current")), limit
        return used, total

    def _sample_machine(self) -> float | None:
        before, self._machine = self._machine, parse_cpu(_text(self._proc / "stat"))
        if before is None or self._machine is None or self._machine[1] <= before[1]:
            return None
        busy, total = (now - then for now, then in zip(self._machine, before, strict=True))
        return round(100.0 * min(max(busy / total, 0.0), 1.0), 1)

    def _sample_job(self) -> tuple[float | None, int | None]:
        if not self._proc.is_dir():
            return None, None
        processes = tree(_processes(self._proc), self._pid)
        page_bytes, ticks_a_s = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
        memory_bytes = sum(each.resident_pages for each in processes) * page_bytes
        ticks = {each.pid: each.ticks for each in processes}
        before, self._job = self._job, (self._clock(), ticks)
        if before is None or self._job[0] <= before[0]:
            return None, memory_bytes
        # A process that is new has used all its time since; one that is gone counts for nothing.
        spent_s = sum(now - before[1].get(pid, 0) for pid, now in ticks.items()) / ticks_a_s
        return round(100.0 * max(spent_s, 0.0) / (self._job[0] - before[0]), 1), memory_bytes


@dataclass(frozen=True)
class Process:
    """What /proc/PID/stat says; `ticks` of CPU time, in user and kernel mode."""

    pid: int
    parent: int
    ticks: int
    resident_pages: int


def gpus(smi: str = NVIDIA_SMI) -> list[Gpu]:
    """Return the machine's NVIDIA GPUs, in the order of their indexes; none without a driver."""
    if shutil.which(smi) is None:
        return []
    try:
        done = subprocess.run(
            [smi, f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader,nounits"],
            capture_output=True,
            timeout=NVIDIA_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(done.stdout.decode(errors="replace"))


def parse_gpus(text: str) -> list[Gpu]:
    """Read nvidia-smi's table of GPU_FIELDS, its sizes in MiB; a line that is none is skipped."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < len(GPU_FIELDS.split(",")) or not cells[0].isdigit():
            continue
        name = ", ".join(cells[1:-3])
        total, used, percent = (_number(cell) for cell in cells[-3:])
        used_bytes = None if used is None else int(used * MIB)
        found.append(Gpu(int(cells[0]), name, int((total or 0) * MIB), used_bytes, percent))
    return sorted(found, key=lambda gpu: gpu.index)


def parse_meminfo(text: str) -> tuple[int | None, int | None]:
    """Return the bytes used and in all, of /proc/meminfo."""
    kib = {
        key: int(words[0])
        for key, _, rest in (line.partition(":") for line in text.splitlines())
        if (words := rest.split()) and words[0].isdigit()
    }
    total, available = kib.get("MemTotal"), kib.get("MemAvailable", kib.get("MemFree"))
    if total is None or available is None:
        return None, None
    return (total - available) * 1024, total * 1024


def parse_limit(text: str) -> int | None:
    """Return the bytes that a file of a cgroup holds; None for `max`."""
    return int(text) if text.strip().isdigit() else None


def parse_cpu(text: str) -> tuple[int, int] | None:
    """Return the busy ticks and all ticks of the first line of /proc/stat."""
    words = text.partition("\n")[0].split()
    if len(words) < 6 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:]):
        return None
    # user nice system idle iowait irq softirq steal; guest time lies in user's already.
    ticks = [int(word) for word in words[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def parse_process(text: str) -> Process | None:
    """Read /proc/PID/stat; the name in it may hold anything, brackets and spaces as well."""
    head, _, tail = text.rpartition(")")
    words = tail.split()
    pid = head.partition(" ")[0]
    try:
        return Process(int(pid), int(words[1]), int(words[11]) + int(words[12]), int(words[21]))
    except (IndexError, ValueError):
        return None


def tree(processes: list[Process], root: int) -> list[Process]:
    """Return a process and all its descendants."""
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    found = [process for process in processes if process.pid == root]
    for process in found:  # grows as it is walked
        found += [child for child in children.pop(process.pid, ()) if child.pid != root]
    return found


def _processes(proc: Path) -> list[Process]:
    found = (parse_process(_text(each / "stat")) for each in proc.iterdir() if each.name.isdigit())
    return [process for process in found if process is not None]


def _disk_free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _gpu(document: object) -> Gpu | None:
    if not isinstance(document, dict):
        return None
    try:
        return Gpu(name=str(document.get("name")), **_numbers(Gpu, document))
    except TypeError:  # one that must be there is not
        return None


def _numbers(kind: type[Gpu | Usage], document: Mapping[str, object]) -> dict[str, Any]:
    values = {each.name: document.get(each.name) for each in fields(kind)}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # [N/A], [Not Supported]
