"""What jobs leave behind on this machine: processes, folders, environments out of use."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core.provider import Leftover
from llmcloud.providers.local.keeper import TAG
from llmcloud.runtime import process
from llmcloud.runtime.environment import READY

if TYPE_CHECKING:
    from llmcloud.core.home import Home

UNUSED_ENVIRONMENT_S = 30 * 86400


def find(home: Home, live: frozenset[str]) -> list[Leftover]:
    """Return the processes and folders of jobs that are not live, and what nobody has used long."""
    return [*_processes(home, live), *_folders(home, live), *_environments(home)]


def _processes(home: Home, live: frozenset[str]) -> list[Leftover]:
    found = []
    for folder in sorted(process.tag_values(TAG)):
        job = Path(folder).name
        if Path(folder).parent == home.nodes and job not in live:
            count = len(process.tagged(TAG, folder))
            if count:
                found.append(Leftover("processes", folder, job, f"{count} running"))
    return found


def _folders(home: Home, live: frozenset[str]) -> list[Leftover]:
    return [
        Leftover("folder", str(path), path.name, "what its nodes worked in", _size_bytes(path))
        for path in _children(home.nodes)
        if path.name not in live
    ]


def _environments(home: Home) -> list[Leftover]:
    found = []
    for path in _children(home.venvs):
        ready = path / READY
        used_at = (ready if ready.exists() else path).stat().st_mtime
        unused_s = time.time() - used_at
        if unused_s > UNUSED_ENVIRONMENT_S:
            detail = f"not used for {unused_s / 86400:.0f} days"
            found.append(Leftover("environment", str(path), None, detail, _size_bytes(path)))
    return found


def _children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _size_bytes(folder: Path) -> int:
    return sum(
        Path(root, name).lstat().st_size for root, _, names in os.walk(folder) for name in names
    )
