"""The node's runtime travels alone: one zip, the standard library, Python 3.10."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from llmcloud.core import package

RUNTIME = sorted((Path(__file__).parents[2] / "runtime").rglob("*.py"))


def test_the_packed_runtime_runs_without_any_package(tmp_path: Path) -> None:
    """-I and -S leave Python nothing but its standard library."""
    package.pack_runtime(tmp_path / "runtime.pyz")
    argv = [sys.executable, "-I", "-S", str(tmp_path / "runtime.pyz"), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    assert "--store" in done.stdout


def test_the_same_runtime_is_packed_to_the_same_bytes(tmp_path: Path) -> None:
    digests = {package.pack_runtime(tmp_path / name) for name in ("one", "two")}
    assert len(digests) == 1


@pytest.mark.parametrize("path", RUNTIME, ids=lambda path: path.name)
def test_the_runtime_is_written_in_the_syntax_of_python_3_10(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 10))
