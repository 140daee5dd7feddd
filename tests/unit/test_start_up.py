"""What commands import: what they do not need would only make them slow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rig import snapshots

from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

SDKS = {"boto3", "botocore", "google", "azure", "obstore"}
SLOW = SDKS | {
    "asyncio",
    "fastcrc",
    "pathspec",
    "plotext",
    "pydantic",
    "rich",
    "yaml",
    "zstandard",
}
SLOW_MODULES = {"importlib.metadata"}
REPORT = """
import json, sys
from llmcloud.cli.app import main
sys.argv[0] = "llmcloud"
try:
    main()
except SystemExit as exiting:
    sys.stderr.write("\\n" + json.dumps([exiting.code, sorted(sys.modules)]))
"""
JOB_FILE = "{name: a, provider: local, run: 'true'}"


def imported(home: Path, *arguments: str, code: int = 0, **environ: str) -> set[str]:
    """Return the modules that a command has imported by its end, and their packages."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments],
        env={**os.environ, "LLMCLOUD_HOME": str(home), **environ},
        capture_output=True,
        check=False,
        text=True,
    )
    exit_code, modules = json.loads(done.stderr.splitlines()[-1])
    assert (exit_code or 0) == code, done.stderr
    return set(modules) | {name.partition(".")[0] for name in modules}


def completing(home: Path, words: str) -> set[str]:
    return imported(
        home,
        _LLMCLOUD_COMPLETE="complete_bash",
        COMP_WORDS=f"llmcloud {words}",
        COMP_CWORD=str(len(words.split(" "))),
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home with a job in it that has ended."""
    store = FileStore(tmp_path / "store")
    store.create()
    snapshots.put_job(store, replace(snapshots.failed().view.status, provider="local"))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("list",),
        ("list", "--json"),
        ("init",),
        ("submit", "--help"),
        ("watch", "-h"),
        ("instances", "create", "--help"),
        ("accelerators",),
    ],
    ids=" ".join,
)
def test_help_and_lists_import_nothing_slow(home: Path, arguments: tuple[str, ...]) -> None:
    modules = imported(home, *arguments)
    assert not modules & (SLOW | SLOW_MODULES)


@pytest.mark.parametrize(
    "words", ["", "sta", "status ", "status --", "init ", "submit ", "instances "]
)
def test_completion_imports_nothing_slow(home: Path, words: str) -> None:
    assert not completing(home, words) & (SLOW | SLOW_MODULES)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_with_help_imports_nothing_slow(home: Path, shell: str) -> None:
    """typer by itself loads rich to show a command's help there."""
    modules = imported(
        home,
        _LLMCLOUD_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="llmcloud s",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert not modules & (SLOW | SLOW_MODULES)


def test_help_and_command_names_import_no_command(home: Path) -> None:
    """They are a table."""
    assert not {each for each in imported(home, "--help") if each.startswith("llmcloud.core")}
    assert not {each for each in completing(home, "sta") if each.startswith("llmcloud.core")}


def test_a_list_of_ended_jobs_imports_no_provider(home: Path) -> None:
    modules = imported(home, "list")
    assert "llmcloud.runtime.store" in modules
    assert not {each for each in modules if each.startswith("llmcloud.providers")}


def test_status_imports_no_rich(home: Path) -> None:
    assert not imported(home, "status", "gpt2") & (SLOW - {"asyncio"})


def test_validate_imports_no_rich_and_no_provider(home: Path) -> None:
    (home / "job.yaml").write_text(JOB_FILE)
    modules = imported(home, "validate", str(home / "job.yaml"))
    assert "pydantic" in modules
    assert not modules & (SDKS | {"rich", "plotext", "asyncio"})
    assert not {each for each in modules if each.startswith("llmcloud.providers")}


def test_a_watch_of_a_pipe_imports_no_rich(home: Path) -> None:
    assert "rich" not in imported(home, "watch", "gpt2", "--json", code=7)


@pytest.mark.parametrize(
    "words",
    [
        "push {home}/src corpus",
        "list",
        "list corpus",
        "pull corpus {home}/to",
        "remove corpus --yes",
    ],
)
def test_the_data_of_a_local_store_import_no_sdk_and_no_provider(home: Path, words: str) -> None:
    FileStore(home / "store").put("data/corpus/a", b"a")
    (home / "src").mkdir()
    (home / "src" / "b").write_bytes(b"b")
    modules = imported(home, "data", *words.format(home=home).split())
    assert not modules & (SDKS | {"asyncio", "rich", "yaml", "zstandard"})
    assert not {each for each in modules if each.startswith("llmcloud.providers")}


def test_the_data_of_a_bucket_import_its_sdk(home: Path) -> None:
    """So that the test before would see it."""
    environ = {"AWS_CONFIG_FILE": os.devnull, "AWS_PROFILE": "nobody"}
    modules = imported(home, "data", "list", "s3://bucket", code=4, **environ)
    assert {"obstore", "botocore"} <= modules


def test_the_config_file_is_what_takes_yaml(home: Path) -> None:
    """So that this file's other tests would see it."""
    (home / "config.yaml").write_text("provider: local\n")
    assert "yaml" in imported(home, "list")
