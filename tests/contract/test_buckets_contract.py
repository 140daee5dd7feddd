"""What buckets do, whichever cloud they are of."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from fastcrc.crc32 import iscsi as crc32c
from tests.rig.buckets import BUCKETS, BucketsRig

from llmcloud.core import registry
from llmcloud.core.buckets import OURS, Buckets, BucketWish
from llmcloud.core.stores import open_store
from llmcloud.runtime.bucket import BucketStore
from llmcloud.runtime.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    StoreGone,
)

if TYPE_CHECKING:
    from tests.rig.emulators.catalog import Emulators

    from llmcloud.runtime.bucket_api import PartUpload

FIRST, LAST = b"a" * (8 << 20), b"the end"
WHOLE = crc32c(FIRST + LAST)


@pytest.fixture(params=BUCKETS)
def rig(
    request: pytest.FixtureRequest, emulators: Emulators, monkeypatch: pytest.MonkeyPatch
) -> BucketsRig:
    made = BUCKETS[request.param]
    if gap := made.gaps.get(request.node.originalname):
        request.applymarker(pytest.mark.xfail(reason=gap, strict=True))
    for name, value in emulators.get(made.emulator).environ.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def buckets(rig: BucketsRig) -> Buckets:
    return registry.buckets(rig.scheme)


@pytest.fixture
def name(rig: BucketsRig) -> str:
    return rig.name(f"llmcloud-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def store(rig: BucketsRig, buckets: Buckets, name: str) -> BucketStore:
    buckets.create(name, BucketWish())
    made = open_store(f"{rig.scheme}://{name}")
    assert isinstance(made, BucketStore)
    return made


class TestABucketThatIsCreated:
    def test_is_private_and_encrypted_and_ours(self, buckets: Buckets, name: str) -> None:
        made = buckets.create(name, BucketWish())
        assert (made.is_private, made.is_encrypted, made.is_ours) == (True, True, True)
        assert not made.has_versioning
        assert buckets.describe(name) == made

    def test_has_the_tags_and_the_versioning_that_were_asked_for(
        self, buckets: Buckets, name: str
    ) -> None:
        made = buckets.create(name, BucketWish(versioning=True, tags={"team": "nlp"}))
        assert made.has_versioning
        assert made.tags["team"] == "nlp"

    def test_lies_in_the_region_that_was_asked_for(
        self, buckets: Buckets, rig: BucketsRig, name: str
    ) -> None:
        assert buckets.create(name, BucketWish(region=rig.regions[0])).region == rig.regions[0]

    def test_can_be_created_again(self, buckets: Buckets, rig: BucketsRig, name: str) -> None:
        """…with what it holds, where it lies, and what it was asked for before."""
        buckets.create(name, BucketWish(rig.regions[0], versioning=True, tags={"a": "1"}))
        open_store(f"{rig.scheme}://{name}").put("kept", b"x")
        made = buckets.create(name, BucketWish(tags={"b": "2"}))
        assert made.region == rig.regions[0]
        assert made.has_versioning
        assert {"a": "1", "b": "2"}.items() <= made.tags.items()
        assert open_store(f"{rig.scheme}://{name}").get("kept").data == b"x"

    def test_does_not_move(self, buckets: Buckets, rig: BucketsRig, name: str) -> None:
        buckets.create(name, BucketWish(region=rig.regions[0]))
        with pytest.raises(Conflict) as caught:
            buckets.create(name, BucketWish(region=rig.regions[1]))
        assert rig.regions[0] in caught.value.what
        assert caught.value.fix

    def test_takes_no_name_that_the_cloud_forbids(self, buckets: Buckets, rig: BucketsRig) -> None:
        with pytest.raises(InvalidRequest) as caught:
            buckets.create(rig.name("No_Such_Name"), BucketWish())
        assert caught.value.fix

    def test_is_listed_with_what_is_known_of_it(self, buckets: Buckets, name: str) -> None:
        made = buckets.create(name, BucketWish(tags={"team": "nlp"}))
        (found,) = [each for each in buckets.list() if each.url == made.url]
        assert (found.region, found.is_ours, found.is_private) == (made.region, True, True)
        assert found.tags == made.tags


class TestAStoreInABucket:
    def test_is_created_where_there_is_none(
        self, buckets: Buckets, rig: BucketsRig, name: str
    ) -> None:
        store = open_store(f"{rig.scheme}://{name}")
        assert not store.is_there()
        store.create()
        assert store.is_there()
        assert buckets.describe(name).is_ours

    def test_changes_nothing_of_a_bucket_that_is_there(
        self, buckets: Buckets, rig: BucketsRig, name: str
    ) -> None:
        buckets.create(name, BucketWish(tags={"team": "nlp"}))
        before = buckets.describe(name)
        open_store(f"{rig.scheme}://{name}").create()
        assert buckets.describe(name) == before


class TestDeletingABucket:
    def test_that_is_empty_leaves_nothing(self, buckets: Buckets, name: str) -> None:
        """…and deleting what is absent succeeds."""
        buckets.create(name, BucketWish())
        buckets.delete(name)
        with pytest.raises(NotFound):
            buckets.describe(name)
        buckets.delete(name)

    def test_that_holds_an_object_is_refused(
        self, buckets: Buckets, store: BucketStore, name: str
    ) -> None:
        store.put("a", b"x")
        with pytest.raises(Conflict) as caught:
            buckets.delete(name)
        assert "--force" in caught.value.fix
        assert store.get("a").data == b"x"

    def test_that_holds_unfinished_uploads_only_succeeds(
        self, buckets: Buckets, store: BucketStore, name: str
    ) -> None:
        _begin(store, "a")
        buckets.delete(name)
        assert not store.is_there()

    def test_spares_the_uploads_of_one_that_holds_an_object(
        self, buckets: Buckets, store: BucketStore, name: str
    ) -> None:
        store.put("a", b"x")
        _begin(store, "b")
        with pytest.raises(Conflict):
            buckets.delete(name)
        assert [each.key for each in store.api.unfinished("")] == ["b"]

    def test_that_was_emptied_takes_old_versions_along(
        self, buckets: Buckets, rig: BucketsRig, name: str
    ) -> None:
        buckets.create(name, BucketWish(versioning=True))
        store = open_store(f"{rig.scheme}://{name}")
        for key in ("a", "b"):
            store.put(key, b"old")
            store.put(key, b"new")
        store.delete("a")
        with pytest.raises(Conflict):
            buckets.delete(name)
        assert buckets.empty(name) >= 4
        buckets.delete(name)
        with pytest.raises(NotFound):
            buckets.describe(name)


class TestAnUploadInParts:
    def test_is_invisible_until_it_is_complete(self, store: BucketStore) -> None:
        upload = _begin(store, "a/b")
        assert not store.exists("a/b")
        upload.put(2, LAST, crc32c(LAST))
        upload.complete(2, WHOLE)
        assert store.get("a/b").data == FIRST + LAST
        assert list(store.api.unfinished("")) == []

    def test_keeps_the_digest_of_what_was_sent_in_parts(self, store: BucketStore) -> None:
        upload = _begin(store, "a")
        upload.put(2, LAST, crc32c(LAST))
        upload.complete(2, WHOLE)
        assert store.crc32c("a") == WHOLE

    def test_goes_on_where_it_stopped(self, store: BucketStore) -> None:
        """…in another process, which finds it by its key, and what it has."""
        _begin(store, "a/b")
        _begin(store, "c")
        (found,) = store.api.unfinished("a/")
        assert found.key == "a/b"
        assert {number: part.size for number, part in found.parts().items()} == {1: len(FIRST)}
        found.put(2, LAST, crc32c(LAST))
        found.complete(2, WHOLE)
        assert store.get("a/b").data == FIRST + LAST

    def test_replaces_a_part_that_is_sent_again(self, store: BucketStore) -> None:
        upload = _begin(store, "a")
        upload.put(2, b"not the end", crc32c(b"not the end"))
        upload.put(2, LAST, crc32c(LAST))
        upload.complete(2, WHOLE)
        assert store.get("a").data == FIRST + LAST

    def test_refuses_to_complete_with_another_digest(self, store: BucketStore) -> None:
        upload = _begin(store, "a")
        upload.put(2, LAST, crc32c(LAST))
        with pytest.raises(Conflict):
            upload.complete(2, WHOLE ^ 1)

    def test_can_be_aborted_twice(self, store: BucketStore) -> None:
        upload = _begin(store, "a")
        upload.abort()
        upload.abort()
        assert list(store.api.unfinished("")) == []

    def test_takes_no_part_once_it_is_no_more(self, store: BucketStore) -> None:
        upload = _begin(store, "a")
        upload.abort()
        with pytest.raises(NotFound):
            upload.put(2, LAST, crc32c(LAST))
        with pytest.raises(NotFound):
            upload.parts()

    def test_needs_a_bucket(self, store: BucketStore, buckets: Buckets, name: str) -> None:
        buckets.delete(name)
        with pytest.raises(StoreGone):
            _begin(store, "a")
        with pytest.raises(StoreGone):
            list(store.api.unfinished(""))


class TestTheShortWay:
    DATA = bytes(range(256)) * 8
    KEY = "a b~/\u00e9!'()*+,;=:@$&#?%25.txt"

    def test_brings_an_object_or_a_range_of_it(self, store: BucketStore) -> None:
        """…with what is known of all of it."""
        digest = crc32c(self.DATA)
        store.write(self.KEY, self.DATA, digest)
        version = store.head(self.KEY).version
        for start, size in ((0, 0), (5, 100)):
            found = store.api.piece(self.KEY, start, size, version)
            assert found
            assert b"".join(found.chunks) == self.DATA[start:][: size or None]
            assert (found.size, found.version, found.crc32c) == (len(self.DATA), version, digest)

    def test_ends_where_there_is_nothing_to_bring(self, store: BucketStore) -> None:
        store.put("a", b"x")
        assert store.api.piece("a", 0, 0, "")
        assert store.api.piece("a", 0, 0, '"another"') is None
        assert store.api.piece("absent", 0, 0, "") is None


@pytest.mark.parametrize("variant", ["", "no-such-bucket"])
def test_what_is_absent_is_not_found(buckets: Buckets, name: str, variant: str) -> None:
    with pytest.raises(NotFound) as caught:
        buckets.describe(name + variant)
    assert caught.value.fix


def test_a_bucket_that_others_made_stays_as_it_is(
    rig: BucketsRig, emulators: Emulators, buckets: Buckets, name: str
) -> None:
    """…but can be used as a store."""
    rig.make_plain(emulators.get(rig.emulator), name)
    with pytest.raises(Conflict) as caught:
        buckets.create(name, BucketWish())
    assert caught.value.fix
    found = buckets.describe(name)
    assert (found.is_ours, OURS in found.tags) == (False, False)
    store = open_store(f"{rig.scheme}://{name}")
    store.create()
    store.put("a", b"x")
    assert buckets.describe(name) == found


def _begin(store: BucketStore, key: str) -> PartUpload:
    upload = store.api.begin(key, len(FIRST + LAST), lambda: WHOLE)
    upload.put(1, FIRST, crc32c(FIRST))
    return upload
