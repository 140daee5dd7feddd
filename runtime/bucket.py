"""A bucket as an object store: S3, GCS and Azure Blob alike, through obstore."""

from __future__ import annotations

import contextlib
import functools
import uuid
from typing import TYPE_CHECKING

from llmcloud.runtime import layout
from llmcloud.runtime.bucket_api import crc32c_in
from llmcloud.runtime.bucket_errors import PastEnd, gone
from llmcloud.runtime.bucket_files import fetch_file, send_file
from llmcloud.runtime.bucket_logs import LogWriter
from llmcloud.runtime.bucket_requests import PAGE, RETRIES, Requests, insist, pause
from llmcloud.runtime.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    StoreGone,
    Throttled,
    Unavailable,
)
from llmcloud.runtime.objects import Blob, Entry, ObjectStore, Piece, check_key, check_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from llmcloud.runtime.bucket_api import BucketApi

VERSIONS = 10  # of an object that changes while it is fetched
WRITE = "llmcloudwrite"  # metadata: Azure allows letters and digits only


class BucketStore(ObjectStore):
    """Objects in a bucket; the vendor's own SDK does what obstore can't, through `api`."""

    def __init__(self, api: BucketApi) -> None:
        self.api = api
        self.url = api.url
        self._patient = Requests(api, RETRIES)
        self._once = Requests(api, 0)  # who moves bulk wants to know, and slow down
        self._logs = LogWriter(api, self._patient)

    def check(self, key: str) -> None:
        """Raise InvalidRequest for a key that this bucket can't hold, or no store can."""
        check_key(key)
        if why := self.api.refuses(key):
            raise InvalidRequest(why, where=self.url)

    def create(self) -> None:
        self.api.create()

    def is_there(self) -> bool:
        try:
            insist(lambda: next(self._once.pages("", "", 1), None))
        except StoreGone:
            return False
        return True

    def get(self, key: str) -> Blob:
        self.check(key)
        return self._patient.get(key)

    def read(self, key: str, start: int, size: int) -> bytes:
        self.check(key)
        if not size:
            return b""
        try:
            return b"".join(self._patient.range(key, start, size).chunks)
        except PastEnd:
            return b""
        except Unavailable:  # Azurite answers with nothing, which obstore takes ill
            if self.head(key).size <= start:
                return b""
            return b"".join(self._patient.range(key, start, size).chunks)  # it may have grown

    def piece(self, key: str, start: int, size: int, version: str = "") -> Piece:
        self.check(key)
        if found := self.api.piece(key, start, size, version):
            return found
        try:
            return self._once.range(key, start, size, version)
        except PastEnd:
            raise Conflict("The object is no longer what was listed.", where=key) from None

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        self.check(key)
        if not if_absent and if_match is None:
            return (self._logs if layout.is_log(key) else self._patient).put(key, data)
        mode = "create" if if_absent else {self.api.condition: if_match}
        mark = uuid.uuid4().hex
        marked = {WRITE: mark}
        try:
            return insist(lambda: self._once.put(key, data, mode=mode, attributes=marked))
        except (Conflict, NotFound):
            # A request that was tried again may have lost against itself.
            with contextlib.suppress(NotFound):
                tag, kept = self._patient.metadata(key)
                if kept.get(WRITE) == mark:
                    return tag
            raise Conflict("The object is no longer what was read.", where=key) from None

    def write(self, key: str, data: bytes | memoryview, crc32c: int) -> None:
        """Write a whole object with its digest, tried once."""
        self.check(key)
        self._once.write(key, data, crc32c)

    def put_file(self, key: str, path: Path) -> str:
        self.check(key)
        return send_file(self._patient, key, path)

    def get_file(self, key: str, path: Path) -> str:
        self.check(key)
        for _ in range(VERSIONS):
            with contextlib.suppress(Conflict):  # another version: begin again
                return fetch_file(self._patient, key, path)
        raise Unavailable("The object changes again and again.", where=f"{self.url}, {key}")

    def head(self, key: str) -> Entry:
        self.check(key)
        try:
            return self._patient.head(key)
        except NotFound:
            self._expect_there()  # the answer to HEAD has no body to say it
            raise

    def crc32c(self, key: str) -> int | None:
        self.check(key)
        _, metadata = self._once.metadata(key)
        kept = crc32c_in(metadata)
        return self.api.crc32c(key) if kept is None else kept

    def objects(self, prefix: str = "", *, start_after: str = "") -> Iterator[Entry]:
        check_prefix(prefix)
        if self.api.is_ordered:
            return self._under(prefix, start_after)
        found = insist(lambda: sorted(self._under(prefix, start_after), key=lambda each: each.key))
        return iter(found)

    def folders(self, prefix: str) -> list[str]:
        check_prefix(prefix)
        if prefix and not prefix.endswith("/"):
            raise InvalidRequest(f"{prefix!r} names no folder: it does not end in `/`.")
        found = insist(lambda: self._once.folders(prefix))
        return sorted(each.rstrip("/").rpartition("/")[2] for each in found)

    def delete(self, key: str) -> None:
        self.check(key)
        self.delete_all([key])

    def delete_all(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        for start in range(0, len(keys), PAGE):
            batch = keys[start : start + PAGE]
            try:
                insist(functools.partial(self._once.delete, batch))
            except NotFound:  # GCS and Azure stop at an absent one
                self._expect_there()
                for key in batch:
                    self._delete_one(key)

    def _delete_one(self, key: str) -> None:
        with contextlib.suppress(NotFound):
            insist(lambda: self._once.delete([key]))

    def _expect_there(self) -> None:
        if not self.is_there():
            raise gone(self.url)

    def _under(self, prefix: str, start_after: str) -> Iterator[Entry]:
        folder, _, rest = prefix.rpartition("/")
        found = self._listed(folder, start_after)
        if rest:  # obstore knows folders only
            found = (entry for entry in found if entry.key.startswith(prefix))
        return found

    def _listed(self, folder: str, start_after: str) -> Iterator[Entry]:
        """Yield what a folder holds; where obstore gives up, as an answer broke off, go on."""
        tries = 0
        while True:
            try:
                for page in self._once.pages(folder, start_after):
                    if start_after:  # which some services pass over
                        yield from (each for each in page if each.key > start_after)
                    else:
                        yield from page
                    if self.api.is_ordered:
                        start_after, tries = page[-1].key, 0
            except (Throttled, Unavailable):
                if tries == RETRIES or not self.api.is_ordered:
                    raise
                pause(tries)
                tries += 1
            else:
                return
