"""Which places of a store have names, and what a person may write for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.trees import moved, plant

from llmcloud.core import location
from llmcloud.core.errors import UsageError
from llmcloud.core.location import Place, places
from llmcloud.runtime import layout
from llmcloud.runtime.errors import NotFound
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
    return plant(tmp_path / "source", {"a.txt": "once", "sub/b.txt": "upon"})


def push(store: FileStore, source: Path, name: str) -> None:
    moved(location.source(str(source)), location.target(name, store))


def names(text: str, store: FileStore) -> list[str]:
    return [item.name for item in location.source(text, (), store).items()]


def test_a_store_that_nobody_has_made_has_no_places(tmp_path: Path) -> None:
    assert places(FileStore(tmp_path / "none")) == []


def test_each_place_tells_its_size_and_the_url_that_a_job_reads_it_by(
    store: FileStore, source: Path
) -> None:
    push(store, source, "my corpus")
    store.put(layout.data("0a" * 32) + "staged.txt", b"by a submit")
    url = location.target("my corpus", store).url
    assert places(store) == [Place("my corpus", 2, 8, url)]
    assert names(url, store) == names("my corpus", store) == ["a.txt", "sub/b.txt"]


def test_what_lies_deeper_belongs_to_the_place_of_its_first_folder(
    store: FileStore, source: Path
) -> None:
    for name in ("text/en", "text/de"):
        push(store, source, name)
    store.put("data/copied/deep/a.txt", b"once")
    assert [(each.name, each.objects) for each in places(store)] == [("copied", 1), ("text", 4)]
    assert names("text/de", store) == ["a.txt", "sub/b.txt"]


def test_a_place_that_was_removed_is_listed_no_more(store: FileStore, source: Path) -> None:
    push(store, source, "corpus")
    found = location.source("corpus", (), store)
    location.remove(found, [item.name for item in found.items()])
    assert places(store) == []


@pytest.mark.parametrize("text", ["", "/", "/etc", ".", "../x", "./x"])
def test_a_path_is_no_name_in_a_store(store: FileStore, text: str) -> None:
    """So that nobody pushes to a place that was meant as a folder here."""
    with pytest.raises(UsageError):
        location.target(text, store)


@pytest.mark.parametrize("text", ["file://x", "file://relative/x", "file:///a%00b"])
def test_a_file_url_has_an_absolute_path(store: FileStore, text: str) -> None:
    with pytest.raises(UsageError):
        location.target(text, store)


@pytest.mark.parametrize("text", ["s3://", "gs:///x", "az://account", "az://account/", "ftp://x/y"])
def test_a_url_without_a_bucket_or_of_an_unknown_kind_is_refused(
    store: FileStore, text: str
) -> None:
    with pytest.raises(UsageError):
        location.source(text, (), store)


@pytest.mark.parametrize("text", ["corpus", "corpus/none", "corpus/*.none"])
def test_what_is_not_there_is_not_found(store: FileStore, text: str) -> None:
    with pytest.raises(NotFound):
        names(text, store)


def test_nothing_is_written_where_a_store_keeps_its_own(store: FileStore) -> None:
    with pytest.raises(UsageError, match="belongs to a store"):
        location.target(f"{store.url}/.llmcloud/tmp")


def test_a_home_may_be_called_as_a_stores_own_folder_is(tmp_path: Path) -> None:
    store = FileStore(tmp_path / ".llmcloud" / "store")
    store.create()
    assert location.target("corpus", store).url.endswith("/.llmcloud/store/data/corpus")


def test_a_file_url_says_odd_characters_by_their_codes(store: FileStore, source: Path) -> None:
    plant(source, {"100% [é] #1?/a": "odd"})
    url = location.target(str(source / "100% [é] #1?")).url
    assert names(url, store) == ["a"]


@pytest.mark.parametrize("text", ["x/../../jobs", "a//b", "a\nb", "s3:/b", "file:/x", "S3://b"])
def test_a_name_stays_where_names_are_and_is_no_url(store: FileStore, text: str) -> None:
    """So that `data remove x/../../jobs` removes no jobs, and a typing error goes nowhere."""
    with pytest.raises(UsageError):
        location.target(text, store)


@pytest.mark.parametrize(
    "text", ["s3://a b/x", "s3://a?b=c", "s3://u:p@a", "gs://../x", "s3://b//k", "gs://b/../k"]
)
def test_a_bucket_and_what_lies_in_it_are_named_as_clouds_name_them(
    store: FileStore, text: str
) -> None:
    with pytest.raises(UsageError):
        location.target(text, store)


def test_an_empty_text_is_not_the_folder_one_is_in() -> None:
    """It comes of a variable that is not set."""
    for look in (location.source, location.target):
        with pytest.raises(UsageError):
            look("")


def test_a_device_is_no_source() -> None:
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        location.source("/dev/null")


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_a_file_is_no_target(source: Path, below: str) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        location.target(f"{source}/a.txt{below}")


def test_one_file_of_a_place_can_be_removed(store: FileStore, source: Path) -> None:
    push(store, source, "corpus")
    assert location.url("corpus/a.txt", store) == f"{store.url}/data/corpus/a.txt"
