"""The empty objects `folder/` by which consoles mark folders: no items, and gone with these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.emulators import clients
from tests.rig.trees import Moved, contents, moved

from llmcloud.core import location, registry
from llmcloud.core.transfer.crc32c import crc32c
from llmcloud.runtime.bucket import BucketStore
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulator, Emulators
    from tests.rig.stores import StoreRig

# `d/` comes out of order when its slash is not seen.
MARKERS = ("place/", "place/d/", "place/empty/", "place/empty/deep/", "place-2/", "beside/")
KEYS = ("place/d-2/x", "place/d/x", "place/zero")


def _s3(emulator: Emulator, name: str) -> tuple[Callable[[str], Any], Callable[[], set[str]]]:
    client = clients.s3_client(emulator)
    return (
        lambda key: client.put_object(Bucket=name, Key=key),
        lambda: {each["Key"] for each in client.list_objects_v2(Bucket=name).get("Contents", ())},
    )


def _gcs(emulator: Emulator, name: str) -> tuple[Callable[[str], Any], Callable[[], set[str]]]:
    bucket = clients.gcs_client(emulator).bucket(name)
    return (
        lambda key: bucket.blob(key).upload_from_string(b""),
        lambda: {each.name for each in bucket.list_blobs()},
    )


def _azure(emulator: Emulator, name: str) -> tuple[Callable[[str], Any], Callable[[], set[str]]]:
    container = clients.blob_client(emulator).get_container_client(name.partition("/")[2])
    return (
        lambda key: container.upload_blob(key, b""),
        lambda: {each.name for each in container.list_blobs()},
    )


class Console:
    """A bucket as its cloud's own console sees it, and as we do."""

    def __init__(self, store: BucketStore, emulator: Emulator) -> None:
        self.store, self.url = store, store.url
        self.scheme, _, self.name = store.url.partition("://")
        self.put, self.seen = {"s3": _s3, "gs": _gcs, "az": _azure}[self.scheme](
            emulator, self.name
        )

    def fill(self) -> None:
        for key in MARKERS:
            self.put(key)
        for key in KEYS:
            data = b"" if key.endswith("zero") else b"x"
            self.store.write(key, data, crc32c(data))  # the digest tells what whole seconds do not

    def remove(self, place: str) -> list[str]:
        source = location.source(f"{self.url}/{place}")
        names = [item.name for item in source.items()]
        location.remove(source, names)
        return names

    def copy(self, target: str, *, delete: bool = False) -> Moved:
        source = location.source(f"{self.url}/place")
        return moved(source, location.target(target), delete=delete)


@pytest.fixture
def console(bucket_rig: StoreRig, emulators: Emulators, tmp_path: Path) -> Iterator[Console]:
    with bucket_rig.empty_store(tmp_path) as store:
        assert isinstance(store, BucketStore)
        made = Console(store, emulators.get(bucket_rig.emulator))
        made.fill()
        yield made
        registry.buckets(made.scheme).empty(made.name)


def test_are_no_files(console: Console, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert console.copy(str(target)).names == ["d-2/x", "d/x", "zero"]
    assert contents(target) == {"d-2/x": b"x", "d/x": b"x", "zero": b""}
    assert console.copy(str(target), delete=True).names == []


def test_do_not_travel(console: Console) -> None:
    other = f"{console.url}/other"
    assert console.copy(other).names == ["d-2/x", "d/x", "zero"]
    console.put("other/d/")
    assert console.copy(other).names == []


def test_are_removed_with_their_folder(console: Console) -> None:
    """…and no others."""
    console.remove("place")
    assert console.seen() == {"place-2/", "beside/"}


def test_are_removed_where_nothing_else_is(console: Console) -> None:
    """…as earlier versions left them; what then is not there is not found."""
    assert console.remove("beside") == []
    assert "beside/" not in console.seen()
    with pytest.raises(NotFound):
        console.remove("beside")


def test_are_removed_if_a_pattern_names_their_folder(console: Console) -> None:
    console.remove("place/e*")
    assert console.seen() == {*MARKERS, *KEYS} - {"place/empty/", "place/empty/deep/"}


def test_stay_when_an_object_is_removed_that_is_named_like_one(console: Console) -> None:
    console.put("place/zero/")
    assert console.remove("place/zero") == ["zero"]
    assert "place/zero/" in console.seen()
    assert "place/zero" not in console.seen()


def test_of_folders_that_the_source_lacks_are_removed_with_delete(console: Console) -> None:
    console.copy(f"{console.url}/other")
    console.put("other/more/")
    console.copy(f"{console.url}/other", delete=True)
    assert "other/more/" not in console.seen()
    assert {"other/d/x", "other/zero"} <= console.seen()


def test_do_not_outlive_a_bucket_that_is_emptied(console: Console) -> None:
    buckets = registry.buckets(console.scheme)
    assert buckets.empty(console.name) == len(MARKERS) + len(KEYS)
    assert console.seen() == set()
