"""What jobs leave behind on this machine: processes, folders, environments out of use."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core.provider import Leftover
from llmcloud.providers.local.keeper import Order
from llmcloud.runtime import process
from llmcloud.runtime.environment import READY

if TYPE_CHECKING:
    from llmcloud.core.home import Home

UNUSED_ENVIRONMENT_S = 30 * 86400


def find(home: Home, live: frozenset[str], stores: frozenset[str]) -> list[Leftover]:
    """Return what jobs of `stores` that are not live have here, and what nobody has used long."""
    tagged = {Path(folder) for folder in process.tag_values(process.TAG)}
    folders = {path for path in tagged if path.parent == home.nodes} | set(_children(home.nodes))
    ended = sorted(path for path in folders if path.name not in live and _store(path) in stores)
    found = [leftover for path in ended for leftover in _of_job(path)]
    return [*found, *_environments(home)]


def _of_job(folder: Path) -> list[Leftover]:
    found = []
    running = len(process.tagged(process.TAG, str(folder)))
    if running:
        found.append(Leftover("processes", str(folder), folder.name, f"{running} running"))
    size_bytes = _size_bytes(folder)
    found.append(Leftover("folder", str(folder), folder.name, "its nodes' files", size_bytes))
    return found


def _store(folder: Path) -> str | None:
    """Return the URL of the store that a job lies in; None when nothing tells any more."""
    try:
        return Order.from_json((folder / "order.json").read_text()).store
    except (OSError, ValueError, TypeError):
        return None


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
    """Return the size of what is there; orphans may still write and remove files meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(root, name).lstat().st_size
    return total
