"""The stores that a user's jobs lie in are remembered, whoever else writes at that moment."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from llmcloud.core import stores
from llmcloud.core.home import Home
from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from pathlib import Path

REMEMBER = """
import sys
from pathlib import Path
from llmcloud.core import stores
from llmcloud.core.home import Home
home = Home(Path(sys.argv[1]), Path(sys.argv[1], "config.yaml"))
for number in range(50):
    stores.remember(home, f"file:///{sys.argv[2]}/{number}")
"""


def home_at(root: Path) -> Home:
    return Home(root, root / "config.yaml")


def test_stores_remembered_at_once_are_all_kept(tmp_path: Path) -> None:
    commands = [
        subprocess.Popen([sys.executable, "-c", REMEMBER, str(tmp_path), name])
        for name in ("one", "two")
    ]
    assert [each.wait() for each in commands] == [0, 0]
    wanted = {f"file:///{name}/{number}" for name in ("one", "two") for number in range(50)}
    assert set(stores.urls(home_at(tmp_path))) == wanted


def test_a_damaged_list_of_stores_is_none(tmp_path: Path) -> None:
    (tmp_path / stores.FILE).write_text("{")
    assert stores.urls(home_at(tmp_path)) == []


def test_a_home_that_cannot_be_made_is_a_failure_that_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure) as caught:
        stores.remember(home_at(tmp_path / "file" / "home"), "file:///x")
    assert "LLMCLOUD_HOME" in caught.value.fix
