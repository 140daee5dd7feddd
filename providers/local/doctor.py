"""`llmcloud doctor local`: is everything here that a job on this machine needs?"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import uuid
from typing import TYPE_CHECKING

from llmcloud.core.provider import Finding
from llmcloud.providers.local.machine import GB, Inventory, free_bytes
from llmcloud.runtime.errors import Conflict, Failure
from llmcloud.runtime.store import open_store

if TYPE_CHECKING:
    from llmcloud.core.home import Home

LITTLE_SPACE_BYTES = 5 * GB


def check(home: Home) -> list[Finding]:
    """Look at the interpreter, the virtual environments, the store, the disk and the GPUs."""
    return [_python(), _venv(), _shell(), _store(home), _space(home), _machine(home)]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", True, f"{version} ({sys.executable})")


def _venv() -> Finding:
    ok = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    fix = "" if ok else f"apt-get install python3.{sys.version_info.minor}-venv"
    return Finding("venv", ok, "setup can make environments" if ok else "ensurepip is missing", fix)


def _shell() -> Finding:
    found = shutil.which("bash")
    detail = found or "no bash: runs use sh, which does not see a failure inside of a pipe"
    return Finding("shell", True, detail)


def _store(home: Home) -> Finding:
    store = open_store(home.store_url)
    key = f"doctor/{uuid.uuid4().hex}"
    try:
        store.create()
        store.put(key, b"", if_absent=True)
        try:
            store.put(key, b"", if_absent=True)
        except Conflict:
            store.delete(key)
            return Finding("store", True, f"{store.url} takes conditional writes")
        store.delete(key)
    except Failure as failure:
        return Finding("store", False, str(failure), failure.fix)
    fix = "Move it to a local disk with LLMCLOUD_HOME."
    return Finding("store", False, f"{store.url} does not honour conditional writes", fix)


def _space(home: Home) -> Finding:
    free = free_bytes(home.root)
    ok = free > LITTLE_SPACE_BYTES
    detail = f"{free / GB:.1f} GB free for {home.root}"
    return Finding("disk", ok, detail, "" if ok else "llmcloud gc, or move LLMCLOUD_HOME")


def _machine(home: Home) -> Finding:
    return Finding("machine", True, str(Inventory.take(home.root)))
