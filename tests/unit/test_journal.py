"""The journal: what was asked of a provider is known until it is known to be gone."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmcloud.runtime import journal
from llmcloud.runtime.journal import MACHINES, Stage
from llmcloud.runtime.store import FileStore


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "store")
    store.create()
    return store


def test_an_intent_is_pending_before_anything_exists(store: FileStore) -> None:
    entry = journal.intend(store, "job-1", MACHINES, "job-1", "local")
    assert entry.stage is Stage.INTENT
    assert journal.pending(store, "job-1") == [entry]


def test_what_is_created_is_pending_until_it_is_deleted(store: FileStore) -> None:
    entry = journal.intend(store, "job-1", MACHINES, "job-1", "local")
    journal.advance(store, entry, Stage.CREATED)
    assert [each.stage for each in journal.pending(store, "job-1")] == [Stage.CREATED]
    journal.close(store, "job-1")
    assert journal.pending(store, "job-1") == []
    assert [each.stage for each in journal.read(store, "job-1")] == [Stage.DELETED]


def test_a_deletion_is_not_undone_by_a_creation_that_is_told_late(store: FileStore) -> None:
    """A short job may end before the submit that started it writes down that it started."""
    entry = journal.intend(store, "job-1", MACHINES, "job-1", "local")
    journal.close(store, "job-1")
    journal.advance(store, entry, Stage.CREATED)
    assert journal.pending(store, "job-1") == []


def test_the_same_intent_again_is_the_same_entry(store: FileStore) -> None:
    first = journal.intend(store, "job-1", MACHINES, "job-1", "local")
    assert journal.intend(store, "job-1", MACHINES, "job-1", "local") == first
    journal.close(store, "job-1")
    assert journal.intend(store, "job-1", MACHINES, "job-1", "local").key != first.key


def test_intents_made_at_once_are_all_kept(store: FileStore) -> None:
    names = [f"machine-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: journal.intend(store, "job-1", "vm", name, "aws"), names))
    assert sorted(each.name for each in journal.pending(store, "job-1")) == names
