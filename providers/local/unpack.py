"""The node's runtime as a folder that all jobs of one version share.

Python keeps what it compiles of a folder, but not of a zip: this halves the start of a node.
"""

from __future__ import annotations

import fcntl
import shutil
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.environment import READY
from llmcloud.runtime.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.runtime.store import ObjectStore


def unpack(store: ObjectStore, digest: str, environments: Path) -> Path:
    """Return the folder of a runtime; it lies beside the jobs' environments, and goes as they do.

    Raises Unavailable when the archive is not what its digest says.
    """
    environments.mkdir(parents=True, exist_ok=True)
    folder = environments / f"runtime-{digest[:24]}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / READY).exists():
            import zipfile  # seldom needed: once a version

            shutil.rmtree(folder, ignore_errors=True)
            archive = folder.with_suffix(".pyz")
            if store.get_file(layout.runtime(digest), archive) != digest:
                raise Unavailable("The node's runtime is damaged.", where=layout.runtime(digest))
            with zipfile.ZipFile(archive) as bundle:
                bundle.extractall(folder)
            archive.unlink()
        (folder / READY).touch()  # whole, and when it was last used
    return folder
