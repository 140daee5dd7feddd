"""Transfers by a vendor's SDK as its own guide shows them: what a script without a tool would do.

    python -m benchmarks.data_plane.sdk LIBRARY up|down FILE-OR-FOLDER URL/BUCKET PREFIX

LIBRARY is boto3, google, azure, or obstore-s3, obstore-gs, obstore-az; the last three are the
ceiling of what we build on: bytes moved as fast as the library can, nothing compared or shown.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

THREADS = 16
PART_BYTES = 8 << 20
ACCOUNT, KEY = "account", "a2V5"


def main() -> None:
    """Transfer one file or all files of a folder."""
    library, way, local, base, prefix = sys.argv[1:]
    LIBRARIES[library](way, Path(local), base, prefix)


def boto3(way: str, local: Path, base: str, prefix: str) -> None:
    """Transfer with upload_file and download_file, which send and fetch parts side by side."""
    import boto3 as library
    from botocore.config import Config

    url, _, bucket = base.rpartition("/")
    client = library.client("s3", endpoint_url=url, config=Config(max_pool_connections=64))
    if way == "up":
        root = local.parent if local.is_file() else local
        each(_files(local), lambda name: client.upload_file(root / name, bucket, prefix + name))
        return
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page["Contents"]]
    each(keys, lambda key: client.download_file(bucket, key, _place(local, key, prefix)))


def google(way: str, local: Path, base: str, prefix: str) -> None:
    """Transfer with transfer_manager, in threads."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage
    from google.cloud.storage import transfer_manager

    url, _, name = base.rpartition("/")
    client = storage.Client("p", AnonymousCredentials(), client_options={"api_endpoint": url})
    bucket = client.bucket(name)
    threads: dict[str, Any] = {"worker_type": transfer_manager.THREAD, "max_workers": THREADS}
    if way == "up":
        if local.is_file():
            blob = bucket.blob(prefix + local.name)
            transfer_manager.upload_chunks_concurrently(
                str(local), blob, chunk_size=4 * PART_BYTES, **threads
            )
            return
        done = transfer_manager.upload_many_from_filenames(
            bucket, _files(local), str(local), blob_name_prefix=prefix, **threads
        )
    else:
        blobs = list(client.list_blobs(bucket, prefix=prefix))
        if len(blobs) == 1:
            path = _place(local, blobs[0].name, prefix)
            transfer_manager.download_chunks_concurrently(blobs[0], path, **threads)
            return
        pairs = [(blob, str(_place(local, blob.name, prefix))) for blob in blobs]
        done = transfer_manager.download_many(pairs, **threads)
    for failure in done:
        if isinstance(failure, Exception):
            raise failure


def azure(way: str, local: Path, base: str, prefix: str) -> None:
    """Transfer with upload_blob and download_blob, large ones in parts side by side."""
    from azure.storage.blob import ContainerClient

    client = ContainerClient.from_container_url(
        base,
        {"account_name": ACCOUNT, "account_key": KEY},
        max_block_size=PART_BYTES,
        max_chunk_get_size=PART_BYTES,
    )

    def send(name: str) -> None:
        with (local if local.is_file() else local / name).open("rb") as file:
            client.upload_blob(prefix + name, file, overwrite=True, max_concurrency=4)

    def fetch(name: str) -> None:
        with _place(local, name, prefix).open("wb") as file:
            client.download_blob(name, max_concurrency=4).readinto(file)

    if way == "up":
        each(_files(local), send)
    else:
        each([blob.name for blob in client.list_blobs(prefix)], fetch)


def obstore(connect: Callable[[str], Any], way: str, local: Path, base: str, prefix: str) -> None:
    """Transfer with obstore's synchronous calls in threads."""
    import obstore as library

    store = connect(base)

    def send(name: str) -> None:
        path = local if local.is_file() else local / name
        if path.stat().st_size <= PART_BYTES:
            library.put(store, prefix + name, path.read_bytes(), use_multipart=False)
        else:
            library.put(store, prefix + name, path, chunk_size=PART_BYTES, max_concurrency=4)

    def fetch(key: str) -> None:
        size = library.head(store, key)["size"] if len(keys) < THREADS else 0
        with _place(local, key, prefix).open("wb") as file:
            if size <= PART_BYTES:
                file.write(library.get(store, key).bytes())
            for start in range(0, size, 4 * PART_BYTES) if size > PART_BYTES else ():
                starts = list(range(start, min(start + 4 * PART_BYTES, size), PART_BYTES))
                ends = [min(begin + PART_BYTES, size) for begin in starts]
                for part in library.get_ranges(store, key, starts=starts, ends=ends):
                    file.write(part)

    if way == "up":
        each(_files(local), send)
    else:
        keys = [found["path"] for page in library.list(store, prefix) for found in page]
        each(keys, fetch)


def each(names: Iterable[str], work: Callable[[str], Any]) -> None:
    """Work on all names, several at a time; raises what failed."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(work, names):
            pass


def s3_store(base: str) -> Any:
    """Return obstore's S3."""
    from obstore.store import S3Store

    url, _, bucket = base.rpartition("/")
    return S3Store(
        bucket,
        endpoint=url,
        client_options={"allow_http": True},
        unsigned_payload=True,
        checksum_algorithm="CRC64NVME",
    )


def gcs_store(base: str) -> Any:
    """Return obstore's Cloud Storage; without a token it would ask Google's machines for one."""
    from obstore.store import GCSStore

    url, _, bucket = base.rpartition("/")
    return GCSStore(
        bucket,
        base_url=url,
        client_options={"allow_http": True},
        credential_provider=lambda: {"token": "bench", "expires_at": None},
    )


def azure_store(base: str) -> Any:
    """Return obstore's Azure Blob."""
    from obstore.store import AzureStore

    endpoint, _, container = base.rpartition("/")
    return AzureStore(
        container,
        account_name=ACCOUNT,
        account_key=KEY,
        endpoint=endpoint,
        client_options={"allow_http": True},
    )


def _files(local: Path) -> list[str]:
    if local.is_file():
        return [local.name]
    return sorted(str(path.relative_to(local)) for path in local.rglob("*") if path.is_file())


def _place(local: Path, key: str, prefix: str) -> Path:
    path = local / key.removeprefix(prefix)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


LIBRARIES = {
    "boto3": boto3,
    "google": google,
    "azure": azure,
    "obstore-s3": partial(obstore, s3_store),
    "obstore-gs": partial(obstore, gcs_store),
    "obstore-az": partial(obstore, azure_store),
}

if __name__ == "__main__":
    main()
