"""What this machine has, and what it would take to satisfy a spec."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core.provider import Offer
from llmcloud.runtime import usage
from llmcloud.runtime.errors import NoCapacity

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.spec.models import JobSpec

GB = 10**9


@dataclass(frozen=True)
class Inventory:
    """The processors, memory, free disk and GPUs that a job can have here."""

    vcpus: int
    memory_bytes: int
    disk_bytes: int
    gpus: tuple[usage.Gpu, ...]

    @classmethod
    def take(cls, home: Path) -> Inventory:
        """Look at this machine; its disk is what is free where jobs will work."""
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(len(_processors()), memory_bytes, free_bytes(home), tuple(usage.gpus()))

    def __str__(self) -> str:
        names = [gpu.name for gpu in self.gpus]
        counted = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
        memory, disk = self.memory_bytes / GB, self.disk_bytes / GB
        free = f"{disk:.0f} GB of free disk"
        return f"{self.vcpus} CPUs, {memory:.0f} GB, {free}, {counted or 'no GPU'}"


def offer(spec: JobSpec, have: Inventory) -> Offer:
    """Return this machine as an offer; NoCapacity, naming what there is, when it is too small."""
    wanted: Counter[str] = Counter()
    for group in spec.machine_groups():
        machine = group.machine
        if machine.cpus and machine.cpus.count > have.vcpus:
            raise _too_small(f"{machine.cpus} CPUs", have)
        if machine.memory and machine.memory.size.bytes > have.memory_bytes:
            raise _too_small(f"{machine.memory} of memory", have)
        if machine.disk and machine.disk.bytes > have.disk_bytes:
            raise _too_small(f"{machine.disk} of disk", have)
        if machine.accelerator and machine.accelerator.count:
            wanted[machine.accelerator.name] += machine.accelerator.count * group.count
    for name, count in wanted.items():
        if count > sum(is_named(gpu.name, name) for gpu in have.gpus):
            raise _too_small(f"{count} x {name}", have)
    if len(wanted) > 1:
        raise _too_small(" and ".join(wanted), have)
    accelerator = next(iter(wanted), None)
    return Offer(
        provider="local",
        service="vm",
        region=None,
        instance_type="this machine",
        vcpus=have.vcpus,
        memory_bytes=have.memory_bytes,
        price_usd_per_hour=0.0,
        accelerator=accelerator,
        accelerators=spec.accelerators_per_node(),
    )


def _too_small(wanted: str, have: Inventory) -> NoCapacity:
    return NoCapacity(
        f"The job wants {wanted}; this machine has {have}.",
        where="provider local",
        fix="Ask for less under `resources:`, or choose a cloud with `provider:`.",
    )


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that a folder lies on, or will."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(there).free


def is_named(gpu: str, accelerator: str) -> bool:
    """Tell whether nvidia-smi's name of a GPU is the catalog's: NVIDIA A100-SXM4-80GB is A100."""
    words = gpu.upper().replace("-", " ").split()
    return accelerator.upper() in words


def _processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
