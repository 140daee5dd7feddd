"""gc asks every provider there is, and one that lets nobody in keeps it from nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.rig import snapshots

from llmcloud.core import gc
from llmcloud.core.provider import Leftover
from llmcloud.runtime import status
from llmcloud.runtime.errors import CredentialsError, Failure, PermissionDenied, Unavailable
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.provider import Machine, Place

LEFT = Leftover("machine", "here", "n-1")


class Provider:
    """A provider with one leftover, or that fails."""

    def __init__(self, name: str, failure: Failure | None = None) -> None:
        self.name, self.failure = name, failure

    def leftovers(self, live: frozenset[str], stores: frozenset[str]) -> list[Leftover]:
        if self.failure:
            raise self.failure
        return [LEFT]

    def describe(self, _: Place) -> list[Machine]:
        return []


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(tmp_path / "store")
    made.create()
    return made


def look(store: FileStore, *providers: Any) -> tuple[list[Leftover], list[Failure]]:
    failures: list[Failure] = []
    found = gc.find([store], providers, failures.append)
    return [each.leftover for each in found], failures


@pytest.mark.parametrize("closed", [CredentialsError("None."), PermissionDenied("No.")])
def test_a_provider_that_no_job_is_on_need_not_let_us_in(store: FileStore, closed: Failure) -> None:
    assert look(store, Provider("aws", closed), Provider("local")) == ([LEFT], [])


def test_one_that_a_job_was_on_must(store: FileStore) -> None:
    ended = Status(
        "n-1", "n", "aws", "vm", None, State.SUCCEEDED, status.now(), ended_at=status.now()
    )
    snapshots.put_job(store, ended)
    closed = CredentialsError("None.")
    assert look(store, Provider("aws", closed), Provider("local")) == ([LEFT], [closed])


def test_one_that_does_not_answer_is_told_and_the_others_are_asked(store: FileStore) -> None:
    silent = Unavailable("No answer.")
    assert look(store, Provider("aws", silent), Provider("local")) == ([LEFT], [silent])
