"""Makes files, makes the bucket, fills it and clears it; apart, so that the benchmark stays small.

python -m benchmarks.data_plane.fill files FOLDER COUNT SIZE
python -m benchmarks.data_plane.fill fill CLOUD URL BUCKET [FOLDER PREFIX]
python -m benchmarks.data_plane.fill clear CLOUD URL BUCKET PREFIX
python -m benchmarks.data_plane.fill objects CLOUD URL BUCKET COUNT PREFIX
"""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.data_plane.sdk import ACCOUNT, azure_store

PART_BYTES = 8 << 20
FIRST = "000/000000.bin"


def main() -> None:
    """Do what the arguments say."""
    if sys.argv[1] == "files":
        _write(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    what, cloud, url, bucket, *rest = sys.argv[1:]
    store = _store(cloud, url, bucket)
    if what == "clear":
        import obstore

        for page in obstore.list(store, rest[0], chunk_size=1000):
            obstore.delete(store, [found["path"] for found in page])
        return
    _make(cloud, url, bucket)
    if what == "objects":
        _put(store, int(rest[0]), rest[1])
    elif rest:
        _fill(store, Path(rest[0]), rest[1])


def _write(folder: Path, count: int, size: int) -> None:
    """Make the files, older than any object: services' times are whole seconds."""
    old = time.time() - 3600
    for number in range(count):
        path = folder / _name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_noise(size, number))
        os.utime(path, (old, old))


def _name(number: int) -> str:
    return f"{number // 1000:03d}/{number:06d}.bin"


def _noise(size: int, number: int) -> bytes:
    """Return bytes that compress badly and differ from file to file."""
    block = (number.to_bytes(8, "big") + bytes(range(256)) * 8)[:2048]
    return (block * (size // len(block) + 1))[:size]


def _fill(store: Any, folder: Path, prefix: str) -> None:
    import obstore

    def send(path: Path) -> None:
        key = prefix + str(path.relative_to(folder))
        obstore.put(store, key, path, chunk_size=PART_BYTES, max_concurrency=4)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, (path for path in folder.rglob("*") if path.is_file())))


def _put(store: Any, count: int, prefix: str) -> None:
    import obstore

    def send(start: int) -> None:
        for number in range(start, min(start + 1000, count)):
            obstore.put(store, prefix + _name(number), b"", use_multipart=False)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(0, count, 1000)))


def _make(cloud: str, url: str, bucket: str) -> None:
    path = f"/{ACCOUNT}/{bucket}?restype=container" if cloud == "az" else f"/{bucket}"
    headers = {"x-ms-version": "2023-11-03"} if cloud == "az" else {}
    request = urllib.request.Request(url + path, method="PUT", headers=headers)
    urllib.request.urlopen(request).close()


def _store(cloud: str, url: str, bucket: str) -> Any:
    if cloud == "az":
        return azure_store(f"{url}/{ACCOUNT}/{bucket}")
    from obstore.store import S3Store

    # The server's GCS and S3 are two faces of the same objects.
    return S3Store(bucket, endpoint=url, client_options={"allow_http": True})


if __name__ == "__main__":
    main()
