"""Which places of a store have names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmcloud.core import sync
from llmcloud.core.location import Place, locate, places
from llmcloud.core.sync import Options
from llmcloud.runtime import layout
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "store")
    store.create()
    return store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / "sub").mkdir(parents=True)
    (tmp_path / "source" / "a.txt").write_text("once")
    (tmp_path / "source" / "sub" / "b.txt").write_text("upon")
    return tmp_path / "source"


def push(store: FileStore, source: Path, name: str) -> None:
    sync.push(store, locate(name, store).prefix, str(source), Options())


def test_a_store_that_nobody_has_made_has_no_places(tmp_path: Path) -> None:
    assert places(FileStore(tmp_path / "none")) == []


def test_each_place_tells_its_size_and_the_url_that_a_job_reads_it_by(
    store: FileStore, source: Path
) -> None:
    push(store, source, "my corpus")
    store.put(layout.data("0a" * 32) + "staged.txt", b"by a submit")
    url = locate("my corpus", store).url
    assert places(store) == [Place("my corpus", 2, 8, url)]
    assert locate(url, store).prefix == "data/my corpus/"


def test_names_with_a_slash_are_places_of_their_own(store: FileStore, source: Path) -> None:
    for name in ("text/en", "text/de", "corpus", "corpus/sub/more"):
        push(store, source, name)
    assert [(place.name, place.objects) for place in places(store)] == [
        ("corpus", 2),
        ("corpus/sub/more", 2),
        ("text/de", 2),
        ("text/en", 2),
    ]


def test_what_was_copied_there_by_hand_is_listed_by_its_folder(store: FileStore) -> None:
    store.put("data/copied/deep/a.txt", b"once")
    assert [(place.name, place.objects) for place in places(store)] == [("copied", 1)]


def test_a_place_that_was_removed_is_listed_no_more(store: FileStore, source: Path) -> None:
    push(store, source, "corpus")
    sync.remove(store, locate("corpus", store).prefix)
    assert places(store) == []
