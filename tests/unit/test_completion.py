"""Shell completion, through the protocol that the shells' scripts speak."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rig import snapshots

from llmcloud.core import stores
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

MAIN = "import sys; sys.argv[0] = 'llmcloud'; from llmcloud.cli.app import main; main()"
JOBS = {"gpt2-k3m9pa": "store", "gpt2-zzzzzz": "store", "tiny-gpt-222222": "another"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home with jobs in two stores."""
    from llmcloud.core.home import Home

    for job, folder in JOBS.items():
        store = FileStore(tmp_path / folder)
        store.create()
        stores.remember(Home(tmp_path, tmp_path / "config.yaml"), store.url)
        snapshots.put_job(store, replace(snapshots.failed().view.status, job=job))
    return tmp_path


def ask(home: Path, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", MAIN],
        env={**os.environ, "LLMCLOUD_HOME": str(home), **environ},
        capture_output=True,
        check=True,
        text=True,
    )
    assert not done.stderr
    return done.stdout


def bash(home: Path, line: str) -> list[str]:
    """Return what bash would offer after this line."""
    words = line.split(" ")
    answer = ask(
        home,
        _LLMCLOUD_COMPLETE="complete_bash",
        COMP_WORDS="\n".join(words),
        COMP_CWORD=str(len(words) - 1),
    )
    return answer.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("llmcloud st", ["status"]),
        ("llmcloud c", ["cancel", "checkpoints"]),
        ("llmcloud checkpoints ", ["list", "pull"]),
        ("llmcloud status --j", ["--json"]),
        ("llmcloud logs gpt2-k3m9pa --ta", ["--tail"]),
        ("llmcloud status gpt2", ["gpt2-k3m9pa", "gpt2-zzzzzz"]),
        ("llmcloud checkpoints pull tiny", ["tiny-gpt-222222"]),
        ("llmcloud watch none-such", []),
        ("llmcloud init ", ["ddp", "gpt2", "tiny-gpt"]),
        ("llmcloud doctor l", ["local"]),
        ("llmcloud accelerators h", ["h100", "h200"]),
        ("llmcloud accelerators H", ["H100", "H200"]),
        ("llmcloud accelerators --provider ", ["aws"]),
        ("llmcloud instances ", ["create", "list", "delete", "ssh"]),
        ("llmcloud instances create --accelerator l40s", ["l40s:1", "l40s:4", "l40s:8"]),
        ("llmcloud instances create --type p4d.", ["p4d.24xlarge"]),
        ("llmcloud instances list --provider ", ["aws"]),
    ],
)
def test_bash_is_offered_what_fits(home: Path, line: str, offered: list[str]) -> None:
    assert bash(home, line) == offered


def test_every_command_is_offered(home: Path) -> None:
    from llmcloud.cli.app import COMMANDS

    assert sorted(bash(home, "llmcloud ")) == sorted(COMMANDS)


@pytest.mark.parametrize("line", ["llmcloud submit ", "llmcloud validate tiny", "llmcloud plan "])
def test_for_files_bash_is_left_to_itself(home: Path, line: str) -> None:
    """No offer makes it complete files, since the script says `complete -o default`."""
    assert bash(home, line) == []
    from typer._completion_shared import COMPLETION_SCRIPT_BASH

    assert "complete -o default" in COMPLETION_SCRIPT_BASH


def test_a_store_that_is_gone_offers_nothing(home: Path) -> None:
    """An error message would end up among the words."""
    (home / "config.yaml").write_text("store: gopher://nowhere\n")
    assert bash(home, "llmcloud status ") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_what_a_command_does(home: Path, shell: str) -> None:
    answer = ask(
        home,
        _LLMCLOUD_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="llmcloud sta",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert "status" in answer
    assert "Show one job." in answer
