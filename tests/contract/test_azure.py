"""What is Azure's alone: its names, its blocks, its access, and tokens that end."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from fastcrc.crc32 import iscsi as crc32c
from tests.rig.emulators.catalog import ACCOUNT
from tests.rig.emulators.clients import blob_client
from tests.rig.entra import Entra, entra

from llmcloud.core.buckets import Buckets, BucketWish
from llmcloud.core.registry import buckets as buckets_of
from llmcloud.core.stores import open_store
from llmcloud.runtime.bucket import BucketStore
from llmcloud.runtime.bucket_api import PART_BYTES
from llmcloud.runtime.errors import Conflict, CredentialsError, InvalidRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulator, Emulators

    from llmcloud.runtime.objects import Entry

ONE, TWO = b"a" * (1 << 20), b"the end"
WHOLE = crc32c(ONE + TWO)


@pytest.fixture
def azurite(emulators: Emulators, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    found = emulators.get("azurite")
    for name, value in found.environ.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def buckets(azurite: Emulator) -> Buckets:
    return buckets_of("az")


@pytest.fixture
def name() -> str:
    return f"{ACCOUNT}/llmcloud-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def store(buckets: Buckets, name: str) -> BucketStore:
    return _made(name)


@pytest.fixture
def container(azurite: Emulator, store: BucketStore, name: str) -> Any:
    """Give the bucket as others use it, without us."""
    return blob_client(azurite).get_container_client(name.partition("/")[2])


def _made(name: str) -> BucketStore:
    made = open_store(f"az://{name}")
    assert isinstance(made, BucketStore)
    made.create()
    return made


class TestBlocks:
    def test_of_two_who_send_the_same_serve_both(self, store: BucketStore) -> None:
        first, second = (store.api.begin("a", 0, lambda: WHOLE) for _ in range(2))
        first.put(1, ONE, crc32c(ONE))
        second.put(1, ONE, crc32c(ONE))
        second.put(2, TWO, crc32c(TWO))
        second.complete(2, WHOLE)
        first.put(2, TWO, crc32c(TWO))
        first.complete(2, WHOLE)
        assert store.get("a").data == ONE + TWO

    def test_of_two_who_send_different_things_never_mix(self, store: BucketStore) -> None:
        """…and who is second must send his again."""
        first, second = (store.api.begin("a", 0, lambda: 0) for _ in range(2))
        first.put(1, ONE, crc32c(ONE))
        second.put(1, b"other", crc32c(b"other"))
        second.complete(1, crc32c(b"other"))
        first.put(2, TWO, crc32c(TWO))
        with pytest.raises(NotFound):
            first.complete(2, WHOLE)
        assert store.get("a").data == b"other"

    def test_can_be_committed_again(self, store: BucketStore) -> None:
        """…by who did not hear that the first time had succeeded."""
        upload = store.api.begin("a", 0, lambda: 0)
        upload.put(1, ONE, crc32c(ONE))
        upload.complete(1, crc32c(ONE))
        upload.complete(1, crc32c(ONE))
        assert store.get("a").data == ONE

    def test_beside_an_object_are_found_by_its_name(self, store: BucketStore) -> None:
        """…while the object stays as it is."""
        store.put("a", b"old")
        store.api.begin("a", 0, lambda: 0).put(1, ONE, crc32c(ONE))
        (found,) = store.api.unfinished_of("a")
        assert {number: part.crc32c for number, part in found.parts().items()} == {1: crc32c(ONE)}
        assert store.get("a").data == b"old"
        found.put(2, TWO, crc32c(TWO))
        found.complete(2, WHOLE)
        assert store.get("a").data == ONE + TWO
        assert list(store.api.unfinished_of("a")) == []

    def test_of_no_upload_are_not_found(self, store: BucketStore) -> None:
        store.put("empty", b"")
        store.put("a/b", b"x")
        assert list(store.api.unfinished("")) == []
        assert list(store.api.unfinished_of("a")) == []

    @pytest.mark.parametrize("size", [20, 36, 48, 64])
    def test_of_another_program_are_no_hindrance(
        self, store: BucketStore, container: Any, size: int
    ) -> None:
        """…though Azure wants all ids to be of one length."""
        container.get_blob_client("a").stage_block("x" * size, b"theirs")
        assert list(store.api.unfinished_of("a")) == []
        upload = store.api.begin("a", 0, lambda: 0)
        upload.put(1, ONE, crc32c(ONE))
        upload.put(2, TWO, crc32c(TWO))
        (found,) = store.api.unfinished_of("a")
        assert sorted(found.parts()) == [1, 2]
        found.complete(2, WHOLE)
        assert store.get("a").data == ONE + TWO

    def test_of_ours_are_no_hindrance_to_who_writes_a_file_at_once(
        self, store: BucketStore, tmp_path: Path
    ) -> None:
        """…nor his to us."""
        (tmp_path / "large").write_bytes(bytes(PART_BYTES + 1))
        upload = store.api.begin("a", 0, lambda: 0)
        upload.put(1, ONE, crc32c(ONE))
        store.put_file("a", tmp_path / "large")
        assert store.head("a").size == PART_BYTES + 1
        upload.put(1, ONE, crc32c(ONE))
        upload.complete(1, crc32c(ONE))
        assert store.get("a").data == ONE

    def test_whose_ids_are_too_short_for_ours_are_told(
        self, store: BucketStore, container: Any
    ) -> None:
        container.get_blob_client("a").stage_block("x" * 8, b"theirs")
        upload = store.api.begin("a", 0, lambda: 0)
        with pytest.raises(Conflict) as caught:
            upload.put(1, ONE, crc32c(ONE))
        assert "Write a small object under this name" in caught.value.fix

    def test_of_an_aborted_upload_serve_a_later_one(self, store: BucketStore) -> None:
        """…as Azure has no way to remove them."""
        upload = store.api.begin("a", 0, lambda: 0)
        upload.put(1, ONE, crc32c(ONE))
        upload.abort()
        with pytest.raises(NotFound):
            upload.complete(1, crc32c(ONE))
        (found,) = store.api.unfinished("")
        found.parts()
        found.complete(1, crc32c(ONE))
        assert store.get("a").data == ONE


class TestNames:
    @pytest.mark.parametrize("key", ["a\\b", "a.", "a./b", "..a..", "a/...", "\x85", "\ufffe"])
    def test_that_azure_would_change_or_refuse_are_refused(
        self, store: BucketStore, key: str
    ) -> None:
        for attempt in (
            lambda: store.put(key, b""),
            lambda: store.write(key, b"", 0),
            lambda: store.get(key),
            lambda: store.delete(key),
        ):
            with pytest.raises(InvalidRequest) as caught:
                attempt()
            assert repr(key) in caught.value.what
        assert list(store.objects()) == []

    def test_come_in_the_order_of_their_bytes(self, store: BucketStore) -> None:
        keys = ["\U0001f600", "\uff5e", "é", "a", "B", "a/b", "a-b"]
        for key in keys:
            store.put(key, b"")
        in_order = sorted(keys, key=str.encode)
        assert [entry.key for entry in store.objects()] == in_order
        assert [entry.key for entry in store.objects(start_after="é")] == in_order[-2:]

    def test_in_a_listing_have_the_version_that_a_read_must_name(self, store: BucketStore) -> None:
        tag = store.put("a", b"first")
        (listed,) = store.objects()
        assert listed.version == tag == store.head("a").version
        assert b"".join(store.piece("a", 0, 5, listed.version).chunks) == b"first"
        store.put("a", b"other")
        with pytest.raises(Conflict):
            store.piece("a", 0, 5, listed.version)


def test_a_log_that_grows_while_its_end_is_looked_for_is_read_on(
    store: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """…as Azurite answers a range past the end with no error that could be told from others."""
    store.put("a", b"one")
    head = store.head

    def grown(key: str) -> Entry:
        store.put("a", b"one, two")
        return head(key)

    monkeypatch.setattr(store, "head", grown)
    assert store.read("a", 3, 100) == b", two"
    assert store.read("a", 8, 100) == b""


class TestABucket:
    def test_has_the_tags_that_were_asked_for(self, buckets: Buckets, name: str) -> None:
        buckets.create(name, BucketWish(tags={"team": "nlp", "a": "1"}))
        made = buckets.create(name, BucketWish(tags={"a": "2"}))
        assert made.tags == {"llmcloud": "1", "team": "nlp", "a": "2"}
        assert made.is_ours

    @pytest.mark.parametrize("tags", [{"1a": ""}, {"a-b": ""}, {"a": "é"}, {"a": "x\ny"}])
    def test_has_no_tags_that_azure_can_not_keep(
        self, buckets: Buckets, name: str, tags: dict[str, str]
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            buckets.create(name, BucketWish(tags=tags))
        assert caught.value.fix
        with pytest.raises(NotFound):
            buckets.describe(name)

    @pytest.mark.parametrize(
        ("wish", "option"),
        [
            (BucketWish(region="westeurope"), "--region"),
            (BucketWish(versioning=True), "--versioning"),
            (BucketWish(expire_logs_days=3), "--expire-logs"),
            (BucketWish(abort_uploads_days=3), "--abort-uploads"),
        ],
    )
    def test_can_not_be_what_only_its_account_can(
        self,
        buckets: Buckets,
        name: str,
        wish: BucketWish,
        option: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """…and is not made at all, where the account can't be asked."""
        monkeypatch.delenv("AZURE_SUBSCRIPTION_ID", raising=False)
        with pytest.raises(InvalidRequest) as caught:
            buckets.create(name, wish)
        assert option in caught.value.fix
        with pytest.raises(NotFound):
            buckets.describe(name)

    def test_of_ours_is_closed_again_if_somebody_opened_it(
        self, buckets: Buckets, store: BucketStore, container: Any, name: str
    ) -> None:
        container.set_container_access_policy(signed_identifiers={}, public_access="container")
        assert buckets.describe(name).is_private is False
        assert buckets.create(name, BucketWish()).is_private

    def test_is_emptied_of_more_than_fit_one_request_and_of_snapshots(
        self, buckets: Buckets, store: BucketStore, container: Any, name: str
    ) -> None:
        for number in range(300):
            store.put(f"{number}", b"")
        container.get_blob_client("7").create_snapshot()
        assert buckets.empty(name) == 300
        buckets.delete(name)
        with pytest.raises(NotFound):
            buckets.describe(name)

    def test_tells_why_an_object_can_not_be_deleted(
        self, buckets: Buckets, store: BucketStore, container: Any, name: str
    ) -> None:
        store.put("a", b"")
        store.put("leased", b"")
        container.get_blob_client("leased").acquire_lease()
        with pytest.raises(Conflict) as caught:
            buckets.empty(name)
        assert "leased" in caught.value.where
        assert "lease break" in caught.value.fix


class TestASasToken:
    def test_opens_a_bucket(
        self,
        azurite: Emulator,
        store: BucketStore,
        name: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from azure.storage.blob import ContainerSasPermissions, generate_container_sas

        token = generate_container_sas(
            ACCOUNT,
            name.partition("/")[2],
            account_key=azurite.key,
            permission=ContainerSasPermissions.from_string("rwdl"),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
        monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", azurite.url)
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", token)
        again = open_store(f"az://{name}")
        assert isinstance(again, BucketStore)
        again.put("a", b"x")
        upload = again.api.begin("b", 0, lambda: 0)
        upload.put(1, ONE, crc32c(ONE))
        upload.complete(1, crc32c(ONE))
        assert again.crc32c("b") == crc32c(ONE)
        assert again.api.piece("a", 0, 0, "")
        assert [entry.key for entry in again.objects()] == ["a", "b"]


class TestTokens:
    """Over https, as Azure's own."""

    @pytest.fixture
    def identity(self, emulators: Emulators, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
        found = emulators.get("azurite_oauth")
        monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
        with entra() as made:
            monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", found.url)
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(found.authority))
            for variable, value in made.environ.items():
                monkeypatch.setenv(variable, value)
            yield made

    def test_of_the_machines_identity_open_a_bucket(self, identity: Entra, name: str) -> None:
        store = _made(name)
        store.put("a", b"x")
        upload = store.api.begin("b", 0, lambda: 0)
        upload.put(1, ONE, crc32c(ONE))
        upload.complete(1, crc32c(ONE))
        assert [entry.size for entry in store.objects()] == [1, len(ONE)]
        assert store.crc32c("b") == crc32c(ONE)
        assert store.api.piece("a", 0, 0, "")
        assert buckets_of("az").describe(name).is_private
        assert set(identity.asked) == {"https://storage.azure.com"}

    def test_are_asked_for_once_where_they_last(self, identity: Entra, name: str) -> None:
        store = _made(name)
        store.put("a", b"x")
        before = len(identity.asked)
        for _ in range(5):
            store.put("a", b"x")
        assert len(identity.asked) == before

    def test_that_end_soon_are_asked_for_again_in_mid_transfer(
        self, identity: Entra, name: str
    ) -> None:
        """…before they end, by obstore and by Azure's SDK alike."""
        identity.lifetimes_s = [60.0]
        store = _made(name)
        upload = store.api.begin("b", 0, lambda: 0)
        for request in (
            lambda: store.put("a", b"x"),
            lambda: upload.put(1, ONE, crc32c(ONE)),
            lambda: upload.complete(1, crc32c(ONE)),
            lambda: store.get("b"),
        ):
            before, deadline = len(identity.asked), time.monotonic() + 20
            while len(identity.asked) == before:  # obstore takes one that is just made once more
                assert time.monotonic() < deadline
                request()

    def test_that_have_ended_are_told_and_replaced(self, identity: Entra, name: str) -> None:
        store = _made(name)
        identity.lifetimes_s = [-60.0]
        late = open_store(f"az://{name}")
        with pytest.raises(CredentialsError) as caught:
            late.put("a", b"x")
        assert "az login" in caught.value.fix
        identity.lifetimes_s = [3600.0]
        late.put("a", b"x")
        assert store.get("a").data == b"x"
