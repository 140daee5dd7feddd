"""What `--help` says of the commands that come in groups."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from llmcloud.cli import buckets, checkpoints, data, instances

if TYPE_CHECKING:
    import typer

DOCS = {
    "data": "docs/data.md",
    "buckets": "docs/data.md",
    "checkpoints": "README.md",
    "instances": "docs/instances.md",
}
APPS = {
    "data": data.app,
    "buckets": buckets.app,
    "checkpoints": checkpoints.app,
    "instances": instances.app,
}
WITHOUT = {"list_instances"}  # arguments


def help_of(app: typer.Typer, *command: str) -> str:
    done = CliRunner().invoke(app, [*command, "--help"], terminal_width=80)
    assert done.exit_code == 0
    return str(done.output)


@pytest.mark.parametrize("name", APPS)
def test_each_command_is_said_in_one_line(name: str) -> None:
    """And a group has no options of its own."""
    shown = help_of(APPS[name])
    assert "..." not in shown.replace("[ARGS]...", "")
    assert "completion" not in shown


@pytest.mark.parametrize("name", APPS)
def test_what_is_to_be_filled_in_is_called_by_its_idea(name: str) -> None:
    """In capitals, and not by its type in Python; and an argument as the documentation calls it."""
    docs = (Path(__file__).parents[2] / DOCS[name]).read_text()
    for command in APPS[name].registered_commands:
        assert command.callback is not None
        shown = help_of(APPS[name], command.name or command.callback.__name__)
        usage = shown.split("\n\n", 1)[0].partition("[OPTIONS]")[2]
        arguments = re.findall(r"\w+", usage)
        assert bool(arguments) is (command.callback.__name__ not in WITHOUT)
        assert all(each.isupper() for each in arguments)
        assert "<" not in shown
        assert all(each in docs for each in arguments)
