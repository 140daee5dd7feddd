"""Which GPUs of this machine a job gets: a lock a GPU, held for as long as its keeper lives."""

from __future__ import annotations

import fcntl
from typing import IO, TYPE_CHECKING

from llmcloud.providers.local.machine import is_named
from llmcloud.runtime import usage
from llmcloud.runtime.errors import NoCapacity

if TYPE_CHECKING:
    from pathlib import Path


def claim(folder: Path, name: str, count: int) -> list[tuple[int, IO[str]]]:
    """Lock `count` GPUs called `name`; the caller keeps the files open. NoCapacity if too few."""
    folder.mkdir(parents=True, exist_ok=True)
    claimed: list[tuple[int, IO[str]]] = []
    for gpu in usage.gpus():
        if len(claimed) < count and is_named(gpu.name, name):
            lock: IO[str] = (folder / f"{gpu.index}.lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
            else:
                claimed.append((gpu.index, lock))
    if len(claimed) < count:
        for _, lock in claimed:
            lock.close()
        raise NoCapacity(
            f"{count} GPUs are wanted and {len(claimed)} are free; other jobs have the rest."
        )
    return claimed
