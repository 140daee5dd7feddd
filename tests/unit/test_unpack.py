"""The node's runtime, unpacked once for all jobs of one version."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from llmcloud.core.package import pack_runtime
from llmcloud.providers.local.unpack import unpack
from llmcloud.runtime import layout
from llmcloud.runtime.environment import READY
from llmcloud.runtime.errors import Unavailable
from llmcloud.runtime.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.runtime.store import ObjectStore


@pytest.fixture
def staged(tmp_path: Path) -> tuple[ObjectStore, str]:
    store = open_store((tmp_path / "store").as_uri())
    store.create()
    digest = pack_runtime(tmp_path / "runtime.pyz")
    store.put_file(layout.runtime(digest), tmp_path / "runtime.pyz")
    return store, digest


def test_what_is_unpacked_runs(staged: tuple[ObjectStore, str], tmp_path: Path) -> None:
    """as the zip would, and Python keeps what it compiled."""
    folder = unpack(*staged, tmp_path / "environments")
    subprocess.run([sys.executable, "-I", folder, "--help"], check=True, capture_output=True)
    assert list(folder.rglob("__pycache__"))


def test_a_second_job_finds_it(staged: tuple[ObjectStore, str], tmp_path: Path) -> None:
    """without asking the store again."""
    store, digest = staged
    first = unpack(store, digest, tmp_path / "environments")
    store.delete(layout.runtime(digest))
    assert unpack(store, digest, tmp_path / "environments") == first


def test_half_a_folder_is_made_anew(staged: tuple[ObjectStore, str], tmp_path: Path) -> None:
    """when a kill had cut the unpacking off."""
    folder = unpack(*staged, tmp_path / "environments")
    (folder / READY).unlink()
    (folder / "__main__.py").write_text("half")
    assert (unpack(*staged, tmp_path / "environments") / "__main__.py").read_text() != "half"


def test_a_damaged_runtime_is_refused(staged: tuple[ObjectStore, str], tmp_path: Path) -> None:
    """and not tried on a node."""
    store, digest = staged
    store.put(layout.runtime(digest), b"damaged")
    with pytest.raises(Unavailable, match="damaged"):
        unpack(store, digest, tmp_path / "environments")
