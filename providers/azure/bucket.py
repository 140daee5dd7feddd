"""One container of Azure Blob: how obstore reaches it, and uploads in blocks through Azure's SDK.

Blocks wait unseen beside the blob of their name until a list of them is committed. Azure knows no
uploads apart from that: two that are sent to one name at once share its blocks. So a block's id
tells its place and digest: who commits names just what he sent, equal blocks serve both, and
whoever is second finds his blocks gone (NotFound) unless they are those of the first.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from llmcloud.core.transfer.crc32c import combined
from llmcloud.providers.azure.codes import NO_CREDENTIALS_FIX
from llmcloud.providers.azure.direct import Direct
from llmcloud.providers.azure.errors import code_of, translated
from llmcloud.runtime.azure_names import refusal
from llmcloud.runtime.bucket_api import (
    BucketApi,
    Part,
    PartUpload,
    connection_options,
    crc32c_metadata,
)
from llmcloud.runtime.bucket_errors import not_as_sent
from llmcloud.runtime.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.providers.azure.credentials import Account
    from llmcloud.runtime.objects import Piece

ID_SIZE = 32  # as those that obstore makes: all ids that wait beside a blob must be of one length
BLOCK = re.compile(r"llmcloud([0-9a-f]{4})([0-9a-f]{8})-*")


class AzureBucket(BucketApi):
    """A container of a storage account."""

    credentials_fix = NO_CREDENTIALS_FIX
    is_ordered = False  # "alphabetical" is all that is promised, and folders may come first

    def __init__(self, account: Account, name: str, make: Callable[[], object]) -> None:
        self.url = f"{account.url}/{name}"
        self.name = name
        self._account = account
        self._make = make

    def connect(self, max_retries: int) -> Any:
        from obstore.store import AzureStore

        account = self._account
        # What is left out here, obstore may take from variables that Azure's tools don't know.
        return AzureStore(
            self.name,
            account_name=account.name,
            endpoint=account.endpoint,
            credential_type="auto",
            use_emulator=False,
            use_fabric_endpoint=False,
            skip_signature=False,
            disable_tagging=False,
            credential_provider=account.provider(),
            **connection_options(account.endpoint, max_retries, account.authority),
        )

    def refuses(self, key: str) -> str:
        return refusal(key)

    def create(self) -> None:
        self._make()

    def begin(self, key: str, size: int, whole_crc32c: Callable[[], int]) -> PartUpload:  # noqa: ARG002
        return AzureUpload(self.url, self._blob(key), key, time.time())

    def unfinished(self, prefix: str) -> Iterator[PartUpload]:
        """Yield the uploads of objects that are not there yet; `unfinished_of` finds all."""
        with translated(self.url, prefix):
            for each in self._container.list_blobs(
                name_starts_with=prefix, include=["uncommittedblobs"]
            ):
                if each.size or each.content_settings.content_md5:  # what was written has both
                    continue
                yield from self._unfinished_of(each.name, each.creation_time)

    def unfinished_of(self, key: str) -> Iterator[PartUpload]:
        yield from self._unfinished_of(key, None)

    def piece(self, key: str, start: int, size: int, version: str) -> Piece | None:
        return self._direct.piece(key, start, size, version)

    def delete_marker(self, folder: str) -> None:
        with contextlib.suppress(NotFound), translated(self.url, folder):
            self._blob(f"{folder}/").delete_blob()

    def _unfinished_of(self, key: str, created_at: Any) -> Iterator[PartUpload]:
        started_at = created_at.timestamp() if created_at else time.time()
        upload = AzureUpload(self.url, self._blob(key), key, started_at)
        try:
            if upload.parts():
                yield upload
        except NotFound:
            return

    @cached_property
    def _direct(self) -> Direct:
        return Direct(self._account, self.name)

    def _blob(self, key: str) -> Any:
        return self._account.client().get_blob_client(self.name, key)

    @property
    def _container(self) -> Any:
        return self._account.client().get_container_client(self.name)


class _Block(NamedTuple):
    id: str
    size: int
    crc32c: int


class AzureUpload(PartUpload):
    """Blocks of ours that wait beside a blob."""

    def __init__(self, url: str, blob: Any, key: str, started_at: float) -> None:
        self.key, self.started_at = key, started_at
        self._url, self._blob = url, blob
        self._blocks: dict[int, _Block] = {}
        self._id_size = ID_SIZE
        self._lock = threading.Lock()
        self._is_aborted = False

    def parts(self) -> dict[int, Part]:
        """Return our blocks; of several for one part, left by several tries, any one."""
        self._check()
        for block in self._uncommitted():
            if found := BLOCK.fullmatch(block.id):
                number, crc32c = int(found[1], 16), int(found[2], 16)
                self._blocks[number] = _Block(block.id, block.size, crc32c)
        return {
            number: Part(each.size, crc32c=each.crc32c) for number, each in self._blocks.items()
        }

    def put(self, number: int, data: bytes, crc32c: int) -> None:
        from azure.core.exceptions import HttpResponseError

        self._check()
        body = bytes(data)
        with translated(self._url, self.key):
            try:
                self._stage(number, body, crc32c)
            except HttpResponseError as error:
                if code_of(error) != "InvalidBlobOrBlock" or not self._fits():
                    raise
                self._stage(number, body, crc32c)

    def complete(self, count: int, crc32c: int) -> None:
        from azure.storage.blob import BlobBlock

        self._check()
        blocks = [self._blocks[number] for number in range(1, count + 1)]
        if combined((each.crc32c, each.size) for each in blocks) != crc32c:
            raise not_as_sent(self._url, self.key)
        with translated(self._url, self.key):
            # By default the newest of an id is taken, or else what was committed already: so a
            # request that is sent again does no harm.
            self._blob.commit_block_list(
                [BlobBlock(each.id) for each in blocks],
                metadata=crc32c_metadata(crc32c),
                validate_content=True,
            )

    def abort(self) -> None:
        """Forget it: Azure frees blocks a week after the last came, or with the next commit.

        It has no request for it, but to commit nothing, which would replace the object or let an
        empty one be seen.
        """
        self._is_aborted = True

    def _stage(self, number: int, body: bytes, crc32c: int) -> None:
        block = _Block(self._id(number, crc32c), len(body), crc32c)
        self._blob.stage_block(block.id, body, len(body), validate_content=True)
        self._blocks[number] = block

    def _id(self, number: int, crc32c: int) -> str:
        return f"llmcloud{number:04x}{crc32c:08x}".ljust(self._id_size, "-")

    def _fits(self) -> bool:
        """Take on the length of the ids that another program has left here, if it is enough."""
        with self._lock:
            sizes = {len(each.id) for each in self._uncommitted()}
            self._id_size = max(sizes, default=ID_SIZE)
        return self._id_size == len(self._id(1, 0))

    def _uncommitted(self) -> list[Any]:
        with translated(self._url, self.key):
            return list(self._blob.get_block_list("uncommitted")[1])

    def _check(self) -> None:
        if self._is_aborted:
            raise NotFound("The upload is no more.", where=f"{self._url}, {self.key}")
