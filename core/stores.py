"""Opening a store by its URL, and which stores this user's jobs lie in, beside the default.

The latter are remembered for convenience only: losing the file loses nothing, `--store URL`
reaches any store.
"""

from __future__ import annotations

import fcntl
import json
from typing import TYPE_CHECKING

from llmcloud.runtime import store as runtime_store
from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from llmcloud.core.home import Home
    from llmcloud.runtime.bucket import BucketStore
    from llmcloud.runtime.store import ObjectStore

FILE = "stores.json"


def open_store(url: str) -> ObjectStore:
    """Return the store at a URL, a folder or a whole bucket, without creating it."""
    found = bucket_of(url)
    return open_bucket(*found) if found else runtime_store.open_store(url)


def bucket_of(url: str) -> tuple[str, str] | None:
    """Return scheme and name of the bucket that a store's URL means; None where it is a folder's.

    InvalidRequest for what can be no store; nothing is opened.
    """
    found = runtime_store.bucket_of(url)
    if not found:
        runtime_store.open_store(url)
    return found


def open_bucket(scheme: str, name: str) -> BucketStore:
    """Return a bucket as a store, without creating it."""
    from llmcloud.core import registry
    from llmcloud.runtime.bucket import BucketStore

    return BucketStore(registry.buckets(scheme).open(name))


def remember(home: Home, url: str) -> None:
    """Have later commands look in this store, too."""
    if url in urls(home):
        return
    home.create()
    fresh = home.root / f".{FILE}.new"
    try:
        with (home.root / f".{FILE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # others may add theirs just now
            fresh.write_text(json.dumps([*urls(home), url]))
            fresh.replace(home.root / FILE)
    except OSError as error:
        raise home.unusable(error) from error


def urls(home: Home) -> list[str]:
    """Return the URLs that were remembered; none when the file is missing or damaged."""
    try:
        found = json.loads((home.root / FILE).read_text())
    except (OSError, ValueError):
        return []
    return [url for url in found if isinstance(url, str)] if isinstance(found, list) else []


def opened(home: Home, default: str) -> list[ObjectStore]:
    """Return the default store and those remembered, but for what this version can't open."""
    found = [open_store(default)]
    for url in urls(home):
        try:
            store = open_store(url)
        except Failure:
            continue
        if store.url not in {each.url for each in found}:
            found.append(store)
    return found
