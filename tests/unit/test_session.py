"""What a command takes for a store and for a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmcloud.cli.session import Session
from llmcloud.core import job as jobs
from llmcloud.core.errors import UsageError
from llmcloud.core.home import Home
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path


def session(root: Path, store_url: str) -> Session:
    return Session(Home(root, root / "config.yaml"), store_url)


@pytest.mark.parametrize(
    "url", ["http://x", "s3://b/prefix", "relative", "/a/path", "file://host/x"]
)
def test_a_store_that_can_be_none_is_a_mistake_of_the_call(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="--store"):
        _ = session(tmp_path, url).store


def test_a_store_that_was_named_and_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        _ = session(tmp_path, f"file://{tmp_path}/typo").stores


def test_a_job_without_a_name_is_not_the_only_job_there_is(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.create()
    store.put("jobs/one-234567/status.json", b"{}")
    with pytest.raises(UsageError):
        jobs.find(store, "")
    assert jobs.find(store, "o") == "one-234567"
