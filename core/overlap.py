"""Whether a transfer's source and target lie in each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmcloud.core.transfer.folder import FolderSource, FolderTarget
from llmcloud.core.transfer.store import StoreSource, StoreTarget

if TYPE_CHECKING:
    from llmcloud.core.transfer.sides import Source, Target


def target_in_source(source: Source, target: Target) -> str:
    """Return the names' beginning, `a/b/`, by which the target lies in the source, or nothing."""
    return _rest(_place(target), _place(source))


def source_in_target(source: Source, target: Target) -> bool:
    """Tell whether the source is a part of the target; one that is all of it is none."""
    return bool(_rest(_place(source), _place(target)))


def _rest(inner: str, outer: str) -> str:
    return inner.removeprefix(outer) if outer and inner.startswith(outer) else ""


def _place(side: Source | Target) -> str:
    """Return what says where it lies, ending in `/`."""
    if isinstance(side, StoreSource | StoreTarget):
        return f"{side.store.url}/{side.prefix}"
    if isinstance(side, FolderSource | FolderTarget):
        return os.path.realpath(side.root).rstrip("/") + "/"
    return ""
