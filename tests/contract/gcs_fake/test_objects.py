"""Our Google Cloud Storage: what it does to objects, seen through the real SDKs alone."""

from __future__ import annotations

import base64
import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import obstore.exceptions
import pytest
from google.api_core import exceptions
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.rig.gcs.clients import gcs_store, storage_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.cloud.storage import Bucket, Client
    from obstore.store import GCSStore
    from tests.rig.gcs import GcsFake

WRITERS = 8


def all_at_once(deed: Callable[[int], bool]) -> list[bool]:
    """Let 8 threads do a deed at the same moment."""
    barrier = threading.Barrier(WRITERS)

    def do(number: int) -> bool:
        barrier.wait()
        return deed(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(do, range(WRITERS)))


class TestOneObject:
    """…seen from both sides."""

    NAMES = ("a", "a/b c", "ü/%2F%", "#?&=+", "'\"<>\\", "日本/🎉", "a" * 1024)

    @pytest.mark.parametrize("name", NAMES)
    def test_written_as_json_is_read_as_xml(
        self, bucket: Bucket, store: GCSStore, name: str
    ) -> None:
        blob = bucket.blob(name)
        blob.metadata, blob.cache_control = {"step": "7"}, "no-store"
        blob.upload_from_string(b"hello", content_type="text/x-log")
        found = store.get(name)
        assert found.bytes() == b"hello"
        assert found.attributes == {
            "Content-Type": "text/x-log",
            "Cache-Control": "no-store",
            "step": "7",
        }
        assert found.meta["version"] == str(blob.generation)
        assert found.meta["size"] == 5
        assert store.head(name) == found.meta

    @pytest.mark.parametrize("name", NAMES)
    def test_written_as_xml_is_read_as_json(
        self, bucket: Bucket, store: GCSStore, name: str
    ) -> None:
        attributes = {"Content-Type": "text/x-log", "Content-Language": "de", "step": "7"}
        put = store.put(name, b"hello", attributes=attributes)
        blob = bucket.get_blob(name)
        assert blob.download_as_bytes() == b"hello"
        assert (blob.content_type, blob.content_language) == ("text/x-log", "de")
        assert blob.metadata == {"step": "7"}
        assert str(blob.generation) == put["version"]
        assert base64.b64decode(blob.md5_hash).hex() == str(put["e_tag"]).strip('"')

    def test_is_gone_for_both_when_one_deletes_it(self, bucket: Bucket, store: GCSStore) -> None:
        store.put("a", b"x")
        bucket.delete_blob("a")
        with pytest.raises(FileNotFoundError):
            store.get("a")
        bucket.blob("b").upload_from_string(b"x")
        store.delete("b")
        assert bucket.get_blob("b") is None

    def test_keeps_its_metadata_when_copied(self, bucket: Bucket, store: GCSStore) -> None:
        store.put("a b", b"x", attributes={"Content-Type": "text/x-log", "step": "7"})
        store.copy("a b", "c d")
        bucket.copy_blob(bucket.blob("c d"), bucket, "e")
        bucket.blob("f").rewrite(bucket.blob("e"))
        for name in ("c d", "e", "f"):
            assert store.get(name).attributes == {"Content-Type": "text/x-log", "step": "7"}

    def test_gets_a_new_metageneration_with_new_metadata(self, bucket: Bucket) -> None:
        blob = bucket.blob("a")
        blob.metadata = {"kept": "1", "gone": "2"}
        blob.upload_from_string(b"x")
        before = blob.generation
        blob.metadata = {"kept": "1", "gone": None, "new": "3"}
        blob.content_type = "text/x-log"
        blob.patch()
        found = bucket.get_blob("a")
        assert (found.generation, found.metageneration) == (before, 2)
        assert found.metadata == {"kept": "1", "new": "3"}
        assert found.content_type == "text/x-log"

    def test_can_be_composed_of_others(self, bucket: Bucket, store: GCSStore) -> None:
        """…and then Google knows no MD5 of it, nor does its XML tag say one."""
        parts = [bucket.blob(name) for name in "abc"]
        for part in parts:
            part.upload_from_string(part.name * 3)
        whole = bucket.blob("whole")
        whole.compose(parts, if_generation_match=0)
        assert store.get("whole").bytes() == b"aaabbbccc"
        assert (whole.component_count, whole.md5_hash) == (3, None)
        assert str(store.head("whole")["e_tag"]).startswith('"-')
        with pytest.raises(exceptions.PreconditionFailed):
            whole.compose(parts, if_generation_match=0)

    def test_can_be_deleted_in_a_batch(self, client: Client, bucket: Bucket) -> None:
        """…which is done to its end although one of its calls is refused."""
        for name in "ac":
            bucket.blob(name).upload_from_string(b"x")
        batch = client.batch()
        with pytest.raises(exceptions.NotFound), batch:
            bucket.delete_blobs([bucket.blob(name) for name in "abc"])
        assert list(bucket.list_blobs()) == []


class TestAConditionalWrite:
    def test_creates_for_exactly_one_of_8(
        self, fake: GcsFake, bucket: Bucket, store: GCSStore
    ) -> None:
        """…half of which speak XML, half JSON."""

        def create(number: int) -> bool:
            try:
                if number % 2:
                    store.put("a", b"%d" % number, mode="create")
                else:
                    with_json(fake, lambda own: own.upload_from_string(b"%d" % number, **absent))
            except (obstore.exceptions.AlreadyExistsError, exceptions.PreconditionFailed):
                return False
            return True

        absent = {"if_generation_match": 0}
        for _ in range(20):
            won = all_at_once(create)
            assert won.count(True) == 1
            assert store.get("a").bytes().to_bytes() == b"%d" % won.index(True)
            store.delete("a")

    def test_loses_no_increment(self, store: GCSStore) -> None:
        """…of 8 threads that each read, add one, and write if nothing changed."""
        store.put("counter", b"0")

        def add_one(_: int) -> bool:
            for _ in range(25):
                while not swapped():
                    pass
            return True

        def swapped() -> bool:
            found = store.get("counter")
            count = int(found.bytes().to_bytes()) + 1
            tags = {"e_tag": found.meta["e_tag"], "version": found.meta["version"]}
            try:
                store.put("counter", b"%d" % count, mode=tags)
            except obstore.exceptions.PreconditionError:
                return False
            return True

        all_at_once(add_one)
        assert store.get("counter").bytes() == b"200"

    def test_does_nothing_when_its_condition_fails(self, bucket: Bucket) -> None:
        blob = bucket.blob("a")
        blob.upload_from_string(b"first")
        first = blob.generation
        blob.upload_from_string(b"second", if_generation_match=first)
        deeds: list[Callable[..., object]] = [
            lambda **condition: bucket.blob("a").upload_from_string(b"third", **condition),
            lambda **condition: bucket.blob("a").patch(**condition),
            lambda **condition: bucket.blob("a").delete(**condition),
            lambda **condition: bucket.blob("a").reload(**condition),
            lambda **condition: bucket.blob("a").download_as_bytes(**condition),
            lambda **condition: bucket.blob("a").rewrite(blob, **condition),
        ]
        for deed in deeds:
            for condition in ({"if_generation_match": first}, {"if_metageneration_match": 9}):
                with pytest.raises(exceptions.PreconditionFailed) as error:
                    deed(**condition)
                reasons = {each["reason"] for each in error.value.errors}
                assert reasons <= {"conditionNotMet"}  # none where the SDK does not look
        found = bucket.get_blob("a")
        assert (found.download_as_bytes(), found.metageneration) == (b"second", 1)

    def test_may_ask_for_another_generation(self, bucket: Bucket) -> None:
        """…and a read that does so is told that nothing changed."""
        blob = bucket.blob("a")
        blob.upload_from_string(b"x")
        with pytest.raises(exceptions.NotModified):
            blob.reload(if_generation_not_match=blob.generation)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.blob("a").upload_from_string(b"y", if_generation_not_match=blob.generation)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.blob("b").upload_from_string(b"y", if_generation_not_match=1)

    def test_may_copy_only_what_is_absent(self, store: GCSStore) -> None:
        store.put("a", b"a")
        store.copy("a", "b", overwrite=False)
        store.put("a", b"new")
        with pytest.raises(obstore.exceptions.AlreadyExistsError):
            store.copy("a", "b", overwrite=False)
        assert store.get("b").bytes() == b"a"


def with_json(fake: GcsFake, deed: Callable[[object], object]) -> None:
    """Do a deed to object `a` with a client of the thread's own: sessions are not shared."""
    client = storage_client(fake.url)
    try:
        deed(client.bucket("bucket").blob("a"))
    finally:
        client.close()


class TestARead:
    def test_may_ask_for_a_tag_of_either_interface(self, bucket: Bucket, store: GCSStore) -> None:
        tag = store.put("a", b"x")["e_tag"]
        assert store.get("a", options={"if_match": tag}).bytes() == b"x"
        with pytest.raises(obstore.exceptions.PreconditionError):
            store.get("a", options={"if_match": '"other"'})
        with pytest.raises(obstore.exceptions.NotModifiedError):
            store.get("a", options={"if_none_match": tag})
        blob = bucket.get_blob("a")
        blob.reload(if_etag_match=blob.etag)
        with pytest.raises(exceptions.NotModified):
            blob.reload(if_etag_not_match=blob.etag)

    def test_may_ask_for_an_old_generation(self, bucket: Bucket, store: GCSStore) -> None:
        bucket.versioning_enabled = True
        bucket.patch()
        old = store.put("a", b"old")["version"]
        store.put("a", b"new")
        assert store.get("a", options={"version": old}).bytes() == b"old"


class TestARange:
    DATA = bytes(range(256)) * 4

    @pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 900), (1023, 1024), (1000, 5000)])
    def test_is_the_same_for_both(
        self, bucket: Bucket, store: GCSStore, start: int, end: int
    ) -> None:
        store.put("a", self.DATA)
        expected = self.DATA[start:end]
        assert store.get_range("a", start=start, end=min(end, 1024)) == expected
        assert bucket.blob("a").download_as_bytes(start=start, end=end - 1) == expected

    def test_may_count_from_the_end(self, store: GCSStore) -> None:
        store.put("a", self.DATA)
        assert store.get("a", options={"range": {"suffix": 10}}).bytes() == self.DATA[-10:]
        assert store.get("a", options={"range": {"offset": 1000}}).bytes() == self.DATA[1000:]

    def test_past_the_end_is_refused(self, bucket: Bucket, store: GCSStore) -> None:
        store.put("a", self.DATA)
        store.put("empty", b"")
        with pytest.raises(exceptions.RequestRangeNotSatisfiable):
            bucket.blob("a").download_as_bytes(start=1024)
        with pytest.raises(obstore.exceptions.GenericError, match="InvalidRange"):
            store.get_range("a", start=1024, end=1025)
        with pytest.raises(obstore.exceptions.GenericError, match="InvalidRange"):
            store.get_range("empty", start=0, end=1)
        assert store.get("empty").bytes() == b""

    def test_spans_the_parts_that_an_object_was_made_of(self, store: GCSStore) -> None:
        size = 5 << 20
        data = bytes(size) + b"\1" * size + b"\2" * 10
        store.put("a", data, chunk_size=size, use_multipart=True)
        for start, end in ((size - 3, size + 3), (2 * size - 1, 2 * size + 5), (0, len(data))):
            assert store.get_range("a", start=start, end=end) == data[start:end]


class TestGzip:
    def test_is_unpacked_for_those_who_do_not_say_that_they_can(
        self, bucket: Bucket, store: GCSStore
    ) -> None:
        """…as Google does: obstore reads other bytes than were stored."""
        packed = gzip.compress(b"hello")
        store.put("a", packed, attributes={"Content-Encoding": "gzip"})
        assert store.get("a").bytes() == b"hello"
        assert bucket.blob("a").download_as_bytes(raw_download=True) == packed
        assert bucket.blob("a").download_as_bytes() == b"hello"


class TestAListing:
    def test_of_2500_objects_is_complete_and_in_order(
        self, bucket: Bucket, store: GCSStore
    ) -> None:
        names = sorted(f"{number % 7}/{number:04}" for number in range(2500))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: store.put(name, b"x"), reversed(names)))
        assert [item["path"] for page in store.list() for item in page] == names
        assert [blob.name for blob in bucket.list_blobs()] == names
        assert [blob.name for blob in bucket.list_blobs(page_size=301)] == names
        some = [blob.name for blob in bucket.list_blobs(start_offset="3/", end_offset="5/0500")]
        assert some == [name for name in names if "3/" <= name < "5/0500"]
        after = [item["path"] for page in store.list(offset="3/1400") for item in page]
        assert after == [name for name in names if name > "3/1400"]

    def test_tells_of_each_object_what_a_head_does(self, store: GCSStore) -> None:
        store.put("a", b"hello")
        ((found,),) = store.list()
        head = store.head("a")
        assert found["e_tag"] == head["e_tag"]
        assert found["size"] == head["size"]
        assert found["last_modified"].replace(microsecond=0) == head["last_modified"]

    def test_gives_folders_by_their_delimiter(self, bucket: Bucket, store: GCSStore) -> None:
        for name in ("a/1", "a/2/x", "a/2/y", "a/3", "a0", "b/1"):
            store.put(name, b"x")
        found = store.list_with_delimiter("a")
        assert [item["path"] for item in found["objects"]] == ["a/1", "a/3"]
        assert found["common_prefixes"] == ["a/2"]
        blobs = bucket.list_blobs(delimiter="/")
        assert [blob.name for blob in blobs] == ["a0"]
        assert blobs.prefixes == {"a/", "b/"}

    @settings(
        max_examples=60,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        names=st.sets(st.text("ab/é~", min_size=1, max_size=5), max_size=8),
        prefix=st.text("ab/é", max_size=2),
        delimiter=st.sampled_from(["", "/", "b", "//"]),
        page_size=st.integers(1, 4),
    )
    @example(names={"/", "/a"}, prefix="/", delimiter="/", page_size=1)
    def test_is_what_its_definition_says(
        self,
        fake: GcsFake,
        client: Client,
        names: set[str],
        prefix: str,
        delimiter: str,
        page_size: int,
    ) -> None:
        """…on pages of any size."""
        fake.storage.buckets.clear()
        bucket = client.create_bucket("bucket")
        for name in names:
            bucket.blob(name).upload_from_string(b"")
        listing = bucket.list_blobs(prefix=prefix, delimiter=delimiter or None, page_size=page_size)
        pages = [[blob.name for blob in page] for page in listing.pages]
        expected, prefixes = [], set()
        for name in sorted(name for name in names if name.startswith(prefix)):
            head, cut, _ = name.removeprefix(prefix).partition(delimiter or "\0")
            if cut:
                prefixes.add(prefix + head + cut)
            else:
                expected.append(name)
        assert [name for page in pages for name in page] == expected
        assert listing.prefixes == prefixes
        assert all(len(page) <= page_size for page in pages)


class TestATimeOfItsOwn:
    """…is kept with an object, and shown by both interfaces."""

    TIME = "2026-11-22T06:50:17+01:00"

    def test_is_said_by_a_header(self, fake: GcsFake, bucket: Bucket, client: Client) -> None:
        gcs_store(fake.url, "bucket", headers={"x-goog-custom-time": self.TIME}).put("a", b"x")
        blob = bucket.get_blob("a")
        assert blob is not None
        assert blob.custom_time == datetime.fromisoformat(self.TIME)
        copied = bucket.copy_blob(blob, bucket, "b")
        assert copied.custom_time == blob.custom_time
        found = client._http.get(f"{fake.url}/bucket/a")
        assert found.headers["x-goog-custom-time"] == "2026-11-22T05:50:17.000Z"

    @pytest.mark.parametrize("time", ["yesterday", "2026-11-22T05:50:17"])
    def test_is_a_time(self, fake: GcsFake, bucket: Bucket, time: str) -> None:
        store = gcs_store(fake.url, bucket.name, headers={"x-goog-custom-time": time})
        with pytest.raises(obstore.exceptions.BaseError, match="custom time"):
            store.put("a", b"x")
