"""Uploads in parts and in sessions: nothing is there before its end, nothing wrong ever."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import threading
import time
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from google.api_core import exceptions
from google.cloud.storage import transfer_manager
from google.cloud.storage._media.requests import ResumableUpload, XMLMPUContainer, XMLMPUPart
from google.cloud.storage.exceptions import InvalidResponse
from tests.rig.gcs.clients import gcs_store, storage_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from google.cloud.storage import Bucket, Client
    from obstore.store import GCSStore
    from tests.rig.gcs import GcsFake

MIB = 1 << 20
DEADLINE_S = 10.0
QUANTUM = 256 << 10
WRONG = {"md5": "rL0Y20zC+Fzt72VPzMSk2A==", "crc32c": "AAAAAA=="}


class CuttingRelay:
    """Passes bytes on to a server, and cuts its first long connection after some of them."""

    def __init__(self, port: int, cut_after: int) -> None:
        self._port, self._left = port, cut_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = [self._listener]

    def __enter__(self) -> CuttingRelay:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):  # it is closed already
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._open += [near, far]
                self._threads.append(threading.Thread(target=self._up, args=(near, far)))
                self._threads[-1].start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        down = threading.Thread(target=self._down, args=(near, far))
        down.start()
        with near, far:
            with contextlib.suppress(OSError):
                while data := near.recv(1 << 16):
                    far.sendall(data)
                    self._left -= len(data)
                    if self._left <= 0 < self._left + len(data):
                        break
            for end in (near, far):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            down.join()

    def _down(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(1 << 16):
                near.sendall(data)


@pytest.fixture
def relayed(fake: GcsFake, bucket: Bucket) -> Iterator[Bucket]:
    """Give the bucket through a relay that cuts the connection after 1.5 MiB, once."""
    with CuttingRelay(int(fake.url.rpartition(":")[2]), 3 * MIB // 2) as relay:
        client = storage_client(relay.url)
        yield client.bucket(bucket.name)
        client.close()


class TestAResumableUpload:
    @pytest.mark.parametrize("size", [0, 1, QUANTUM, MIB, MIB + 1, 3 * MIB])
    def test_of_any_size_arrives_in_chunks(self, bucket: Bucket, size: int) -> None:
        data = os.urandom(size)
        blob = bucket.blob("a", chunk_size=MIB)
        blob.upload_from_file(io.BytesIO(data), content_type="text/x-log")
        assert bucket.blob("a").download_as_bytes() == data
        assert bucket.get_blob("a").content_type == "text/x-log"
        assert bucket.get_blob("a").md5_hash

    def test_may_not_know_its_size(self, bucket: Bucket) -> None:
        data = os.urandom(2 * MIB + 5)
        with bucket.blob("a", chunk_size=MIB).open("wb") as file:
            file.write(data)
            assert bucket.get_blob("a") is None
        assert bucket.blob("a").download_as_bytes() == data

    def test_that_was_cut_is_taken_up_by_the_sdk(self, relayed: Bucket, bucket: Bucket) -> None:
        data = os.urandom(4 * MIB)
        relayed.blob("a", chunk_size=4 * MIB).upload_from_file(io.BytesIO(data))
        assert bucket.blob("a").download_as_bytes() == data

    def test_that_was_cut_says_how_far_it_came(
        self, relayed: Bucket, bucket: Bucket, client: Client
    ) -> None:
        """…in whole pieces of 256 KiB, and a question does not end it."""
        data, stream = os.urandom(4 * MIB), io.BytesIO()
        stream.write(data)
        stream.seek(0)
        url = f"{relayed.client.api_endpoint}/upload/storage/v1/b/bucket/o?uploadType=resumable"
        upload = ResumableUpload(url, 4 * MIB, retry=None)
        upload.initiate(relayed.client._http, stream, {"name": "a"}, "text/plain")
        with pytest.raises(OSError):  # noqa: PT011
            upload.transmit_next_chunk(relayed.client._http)
        until = time.monotonic() + DEADLINE_S  # the service need not have noticed the cut yet
        while not upload.bytes_uploaded and time.monotonic() < until:
            upload._make_invalid()
            upload.recover(client._http)
        assert 0 < upload.bytes_uploaded <= 3 * MIB // 2
        assert upload.bytes_uploaded % QUANTUM == 0
        assert bucket.get_blob("a") is None
        upload.transmit_next_chunk(client._http)
        assert upload.finished
        assert bucket.blob("a").download_as_bytes() == data

    @pytest.mark.parametrize("kind", WRONG)
    def test_with_a_wrong_digest_stores_nothing(self, bucket: Bucket, kind: str) -> None:
        blob = bucket.blob("a", chunk_size=QUANTUM)
        setattr(blob, {"md5": "md5_hash", "crc32c": "crc32c"}[kind], WRONG[kind])
        with pytest.raises(exceptions.BadRequest, match="doesn't match calculated"):
            blob.upload_from_file(io.BytesIO(b"hello"), checksum=None)
        assert bucket.get_blob("a") is None

    def test_asks_for_its_generation_at_both_ends(self, bucket: Bucket) -> None:
        """…since another may have written in between."""
        file = bucket.blob("a", chunk_size=MIB).open("wb", if_generation_match=0)
        file.write(bytes(MIB))
        bucket.blob("a").upload_from_string(b"first")
        with pytest.raises(InvalidResponse) as error:
            file.close()
        assert error.value.response.status_code == 412
        assert bucket.blob("a").download_as_bytes() == b"first"
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.blob("a").create_resumable_upload_session(if_generation_match=0)

    def test_may_be_cancelled(self, bucket: Bucket, client: Client) -> None:
        url = bucket.blob("a").create_resumable_upload_session()
        assert client._http.delete(url).status_code == 499
        assert client._http.put(url, data=b"late").status_code == 499
        assert bucket.get_blob("a") is None


class TestASimpleUpload:
    @pytest.mark.parametrize("kind", WRONG)
    def test_with_a_wrong_digest_stores_nothing(
        self, fake: GcsFake, bucket: Bucket, kind: str
    ) -> None:
        blob = bucket.blob("a")
        setattr(blob, {"md5": "md5_hash", "crc32c": "crc32c"}[kind], WRONG[kind])
        with pytest.raises(exceptions.BadRequest, match="doesn't match calculated"):
            blob.upload_from_string(b"hello", checksum=None)
        wrong = gcs_store(fake.url, bucket.name, headers={"x-goog-hash": f"{kind}={WRONG[kind]}"})
        with pytest.raises(Exception, match="<Code>BadDigest</Code>"):
            wrong.put("a", b"hello")
        assert list(bucket.list_blobs()) == []

    def test_whose_connection_is_cut_stores_nothing(self, relayed: Bucket, bucket: Bucket) -> None:
        with pytest.raises(OSError):  # noqa: PT011
            relayed.blob("a").upload_from_string(bytes(2 * MIB), retry=None)
        assert bucket.get_blob("a") is None


class TestAnUploadInParts:
    """…which speaks XML."""

    def test_is_what_obstore_makes_of_something_big(self, bucket: Bucket, store: GCSStore) -> None:
        data = os.urandom(17 * MIB)
        put = store.put("a b", data, chunk_size=5 * MIB, attributes={"step": "7"})
        blob = bucket.get_blob("a b")
        assert blob.download_as_bytes() == data
        assert (blob.metadata, blob.md5_hash) == ({"step": "7"}, None)
        assert put["version"] == str(blob.generation)
        assert put["e_tag"] == store.head("a b")["e_tag"]

    def test_is_what_the_sdk_sends_in_parallel(
        self, bucket: Bucket, client: Client, tmp_path: Path
    ) -> None:
        data = os.urandom(17 * MIB)
        (tmp_path / "up").write_bytes(data)
        blob = bucket.blob("a b")
        blob.metadata = {"step": "7"}
        transfer_manager.upload_chunks_concurrently(
            str(tmp_path / "up"), blob, chunk_size=5 * MIB, worker_type="thread"
        )
        transfer_manager.download_chunks_concurrently(
            bucket.blob("a b"), str(tmp_path / "down"), chunk_size=5 * MIB, worker_type="thread"
        )
        assert (tmp_path / "down").read_bytes() == data
        assert bucket.get_blob("a b").metadata == {"step": "7"}
        assert uploads(client) == []

    def test_is_seen_only_when_it_is_complete(
        self, bucket: Bucket, client: Client, tmp_path: Path
    ) -> None:
        upload = begun(client, tmp_path)
        send_part(upload, client, 2, 3)
        send_part(upload, client, 1, 5 * MIB)
        assert uploads(client) == [("a", upload.upload_id)]
        assert parts(upload, client) == [(1, 5 * MIB), (2, 3)]
        assert bucket.get_blob("a") is None
        finish(upload, client, 1, 2)
        assert uploads(client) == []
        assert bucket.get_blob("a").size == 5 * MIB + 3

    def test_that_is_aborted_leaves_nothing(
        self, bucket: Bucket, client: Client, tmp_path: Path
    ) -> None:
        upload = begun(client, tmp_path)
        send_part(upload, client, 1, 3)
        upload.cancel(client._http)
        assert uploads(client) == []
        for deed in (lambda: send_part(upload, client, 1, 3), lambda: finish(upload, client, 1)):
            with pytest.raises(InvalidResponse) as error:
                deed()
            assert code(error.value) == (404, "NoSuchUpload")
        assert bucket.get_blob("a") is None

    def test_that_obstore_fails_in_is_aborted_by_it(self, client: Client, store: GCSStore) -> None:
        def broken() -> Iterator[bytes]:
            yield bytes(6 * MIB)
            raise OSError("the disk is gone")

        with pytest.raises(Exception, match="the disk is gone"):
            store.put("a", broken(), chunk_size=5 * MIB)
        assert uploads(client) == []

    @pytest.mark.parametrize(
        ("sizes", "numbers", "expected"),
        [
            ({1: 3, 2: 3}, [1, 2], "EntityTooSmall"),
            ({1: 5 * MIB, 2: 3}, [2, 1], "InvalidPartOrder"),
            ({1: 5 * MIB}, [1, 2], "InvalidPart"),
            ({1: 5 * MIB}, [], "MalformedXML"),
        ],
    )
    def test_is_refused_with_the_wrong_parts(
        self,
        bucket: Bucket,
        client: Client,
        tmp_path: Path,
        sizes: dict[int, int],
        numbers: list[int],
        expected: str,
    ) -> None:
        upload = begun(client, tmp_path)
        for number, size in sizes.items():
            send_part(upload, client, number, size)
        with pytest.raises(InvalidResponse) as error:
            finish(upload, client, *numbers)
        assert code(error.value) == (400, expected)
        assert bucket.get_blob("a") is None

    def test_refuses_a_part_with_a_wrong_digest(
        self, fake: GcsFake, bucket: Bucket, client: Client
    ) -> None:
        wrong = gcs_store(fake.url, bucket.name, headers={"x-goog-hash": "crc32c=AAAAAA=="})
        with pytest.raises(Exception, match="<Code>BadDigest</Code>"):
            wrong.put("a", bytes([7]) * 11 * MIB, chunk_size=5 * MIB)
        assert bucket.get_blob("a") is None


class SizedUpload(XMLMPUContainer):
    """The SDK's upload in parts, with a file of zeros to take them from."""

    zeros: str


def begun(client: Client, folder: Path) -> SizedUpload:
    (folder / "zeros").write_bytes(bytes(5 * MIB))
    upload = SizedUpload(f"{client.api_endpoint}/bucket/a", str(folder / "zeros"), retry=None)
    upload.zeros = str(folder / "zeros")
    upload.initiate(client._http, "text/plain")
    return upload


def send_part(upload: SizedUpload, client: Client, number: int, size: int) -> None:
    part = XMLMPUPart(
        upload.upload_url, upload.upload_id, upload.zeros, 0, size, number, retry=None
    )
    part.upload(client._http)
    upload.register_part(number, part.etag)


def finish(upload: SizedUpload, client: Client, *numbers: int) -> None:
    upload._parts = {number: upload._parts.get(number, '"none"') for number in numbers}
    upload.finalize(client._http)


def uploads(client: Client) -> list[tuple[str, str]]:
    """Return the name and the id of each upload that is not complete."""
    root = ET.fromstring(client._http.get(f"{client.api_endpoint}/bucket?uploads").content)
    return [
        (each.findtext("{*}Key", ""), each.findtext("{*}UploadId", ""))
        for each in root.iterfind("{*}Upload")
    ]


def parts(upload: SizedUpload, client: Client) -> list[tuple[int, int]]:
    """Return the number and the size of each part that has arrived, asked for one by one."""
    found: list[tuple[int, int]] = []
    while True:
        query = f"uploadId={upload.upload_id}&max-parts=1&part-number-marker={len(found)}"
        root = ET.fromstring(client._http.get(f"{upload.upload_url}?{query}").content)
        found += [
            (int(part.findtext("{*}PartNumber", "")), int(part.findtext("{*}Size", "")))
            for part in root.iterfind("{*}Part")
        ]
        if root.findtext("{*}IsTruncated") == "false":
            return found


def code(error: InvalidResponse) -> tuple[int, str | None]:
    return error.response.status_code, ET.fromstring(error.response.content).findtext("Code")
