"""What travels with the node's program: from here where that is alike, else from the index."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from llmcloud.core import libraries, package
from llmcloud.runtime.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

ALIKE = sys.platform == "linux" and libraries.MACHINES.get(libraries.platform.machine())


@pytest.mark.skipif(not ALIKE, reason="what runs here is not what a cloud's machines run")
def test_a_program_with_its_libraries_runs_where_there_are_none(tmp_path: Path) -> None:
    """-S leaves out this installation's packages; obstore is a compiled module."""
    program = tmp_path / "node.pyz"
    package.pack_runtime(program, libraries.files(str(ALIKE)))
    said = subprocess.run(
        [sys.executable, "-I", "-S", program, "--help"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    look = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from llmcloud.runtime.bundle import open_libraries; open_libraries(sys.argv[1]); "
        "import obstore; print(obstore.__file__)"
    )
    again = subprocess.run(
        [sys.executable, "-I", "-S", "-c", look, program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(tmp_path) in again.stdout, again.stderr


@pytest.mark.skipif(not ALIKE, reason="what runs here is not what a cloud's machines run")
def test_the_same_libraries_make_the_same_program(tmp_path: Path) -> None:
    """A second submit finds it in the store."""
    digests = {
        package.pack_runtime(tmp_path / name, libraries.files(str(ALIKE))) for name in ("a", "b")
    }
    assert len(digests) == 1


def test_what_can_not_be_downloaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines of another kind than this one, with no package index in reach."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nonexistent")
    with pytest.raises(Unavailable, match="aarch64") as raised:
        list(libraries._downloaded("arm64"))
    assert raised.value.fix
