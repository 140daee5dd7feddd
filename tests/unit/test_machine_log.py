"""What machines printed, for want of a log of their nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llmcloud.cli.machine_lines import show_machines
from llmcloud.core import machine_log
from llmcloud.runtime import layout, status
from llmcloud.runtime.errors import PermissionDenied
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.provider import Compute


def never() -> Compute:
    """Return nobody: what lies in the store is enough."""
    raise AssertionError


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (State.PROVISIONING, ["curl: (22) 403"]),
        (State.FAILED, ["curl: (22) 403"]),
        (State.LOST, ["curl: (22) 403"]),
        (State.RUNNING, []),
        (State.SUCCEEDED, []),
    ],
)
def test_a_boot_is_shown_unless_the_training_has_begun(
    tmp_path: Path, state: State, shown: list[str]
) -> None:
    """A training that prints nothing is no machine that could not start."""
    store = FileStore(tmp_path)
    store.create()
    status.begin(store, Status("x-1", "x", "aws", "vm", "us-east-1", state, status.now(), launch=1))
    store.put(f"{layout.boots('x-1')}i-1.log", b"curl: (22) 403\n")
    lines = machine_log.lines(store, never, "x-1")
    assert [each.record.text.decode() for each in lines] == shown


def test_a_provider_that_cannot_be_asked_is_told_in_words_that_move_no_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The words may be anybody's, and the rest of the log is shown all the same."""

    class Opened:
        store, id = FileStore(tmp_path), "x-1"

        @property
        def compute(self) -> Compute:
            raise PermissionDenied("You may not\x1b[2J.")

    opened: Any = Opened()
    opened.store.create()
    now = Status("x-1", "x", "aws", "vm", "us-east-1", State.FAILED, status.now(), launch=1)
    status.begin(opened.store, now)
    show_machines(opened, pytest.fail)
    assert capsys.readouterr().err == (
        "warning: what its machines printed can't be read: You may not\\x1b[2J.\n"
    )
