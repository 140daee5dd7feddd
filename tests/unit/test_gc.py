"""gc asks every provider there is, and one that lets nobody in keeps it from nothing else."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig import snapshots

from llmcloud.core import gc
from llmcloud.core.provider import Leftover
from llmcloud.runtime import status
from llmcloud.runtime.errors import (
    CredentialsError,
    Failure,
    PermissionDenied,
    StoreGone,
    Unavailable,
)
from llmcloud.runtime.status import State, Status
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

    from llmcloud.core.provider import Machine, Place
    from llmcloud.runtime.store import ObjectStore

LEFT = Leftover("machine", "here", "n-1")


class Provider:
    """A provider with one leftover, or that fails."""

    def __init__(self, name: str, failure: Failure | None = None, store: str = "") -> None:
        self.name, self.failure = name, failure
        self.of = store  # whose job's the leftover is

    def stores(self) -> list[str]:
        if self.failure:
            raise self.failure
        return [self.of] if self.of else []

    def leftovers(self, live: frozenset[str], stores: frozenset[str]) -> list[Leftover]:
        if self.failure:
            raise self.failure
        return [LEFT] if not self.of or self.of in stores else []

    def describe(self, _: Place) -> list[Machine]:
        return []


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(tmp_path / "store")
    made.create()
    return made


def look(
    store: ObjectStore, *providers: Any, named: bool = False
) -> tuple[list[Leftover], list[Failure]]:
    failures: list[Failure] = []
    found = gc.find([store], providers, failures.append, named=named)
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


@pytest.fixture
def deleted(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Return a store in a bucket that is not there any more."""

    class Deleted(FileStore):
        def is_there(self) -> bool:
            return False

        def folders(self, prefix: str) -> list[str]:
            raise StoreGone("There is no such bucket.", where=self.url)

    made = Deleted(store.root)
    made.url = "s3://deleted"
    monkeypatch.setattr(gc, "open_store", lambda url: {made.url: made}[url])
    return made


def test_what_a_job_has_whose_store_is_gone_is_told_and_left_alone(
    store: FileStore, deleted: ObjectStore
) -> None:
    """The job may be alive for all we know: one may ask with another cloud's endpoint."""
    found, failures = look(store, Provider("aws", store=deleted.url), Provider("local"))
    assert found == [LEFT]  # of the other
    (failure,) = failures
    assert failure.where == deleted.url
    assert f"llmcloud gc --store {deleted.url}" in failure.fix


def test_it_is_found_when_its_bucket_is_named(deleted: ObjectStore) -> None:
    assert look(deleted, Provider("aws", store=deleted.url), named=True) == ([LEFT], [])


def test_a_folder_that_is_named_may_just_not_be_mounted(tmp_path: Path) -> None:
    absent = FileStore(tmp_path / "absent")
    found, failures = look(absent, Provider("aws", store=absent.url), named=True)
    assert found == []
    assert [failure.where for failure in failures] == [absent.url]


def test_a_store_that_can_not_be_read_keeps_the_others_from_nothing(
    store: FileStore, deleted: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = PermissionDenied("No.", where=deleted.url)

    def refuse(_: str) -> list[str]:
        raise closed

    monkeypatch.setattr(deleted, "folders", refuse)
    failures: list[Failure] = []
    found = gc.find([deleted, store], [Provider("local")], failures.append)  # type: ignore[list-item]
    assert [each.leftover for each in found] == [LEFT]
    assert failures == [closed]


class Removing:
    """A provider that removes what belongs to two jobs only while both are being removed."""

    name = "local"

    def __init__(self) -> None:
        self.both = threading.Barrier(2)
        self.removed: list[str] = []

    def remove(self, leftover: Leftover) -> bool:
        if leftover.kind == "machine":
            self.both.wait(timeout=60)
        if leftover.id == "stays":
            raise Unavailable("It won't go.")
        self.removed.append(leftover.id)
        return True


def test_what_many_jobs_left_goes_at_once_and_that_of_one_in_order(store: FileStore) -> None:
    provider: Any = Removing()
    leftovers = [
        Leftover("machine", "machine of 1", "job-1"),
        Leftover("group", "group of 1", "job-1"),
        Leftover("machine", "machine of 2", "job-2"),
        Leftover("role", "stays", "job-2"),
        Leftover("template", "template of 2", "job-2"),
    ]
    told: list[tuple[int, int]] = []
    found = [gc.Found(each, store, provider) for each in leftovers]
    failures = gc.remove(found, lambda done, total: told.append((done, total)))
    assert [failure.what for failure in failures] == ["It won't go."]
    assert sorted(provider.removed) == sorted(each.id for each in leftovers if each.id != "stays")
    for job in ("1", "2"):
        own = [each for each in provider.removed if each.endswith(job)]
        assert own[0] == f"machine of {job}"
    assert told == [(2, 5), (5, 5)]
