"""What the fake keeps: buckets, and the generations of their objects, changed one at a time."""

from __future__ import annotations

import bisect
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.rig.gcs import errors
from tests.rig.gcs.versions import (
    ALWAYS,
    Conditions,
    Resource,
    Version,
    check_metadata,
    check_name,
    now,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tests.rig.gcs.content import Content


@dataclass
class Multipart:
    """An XML upload that is not complete."""

    id: str
    name: str
    fields: Resource
    started: datetime
    parts: dict[int, tuple[Content, datetime]] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """What a listing is asked for; `start` is inclusive, `after` and `end` are not."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    after: str = ""
    end: str = ""
    limit: int = 1000
    versions: bool = False
    trailing: bool = False


@dataclass
class Listing:
    """A page of a listing; `next` is the name or prefix after which the next page begins."""

    versions: list[Version] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next: str | None = None


class Bucket:
    """A bucket; `resource` is what was set of it, in the JSON's names."""

    def __init__(self, name: str, resource: Resource, policy: Resource) -> None:
        self.name = name
        self.resource = resource
        self.policy = policy
        self.history: dict[str, list[Version]] = {}
        self.multiparts: dict[str, Multipart] = {}
        self._sorted: list[str] | None = None

    @property
    def is_versioned(self) -> bool:
        return bool(self.resource.get("versioning", {}).get("enabled"))

    @property
    def kms_key(self) -> str | None:
        key: str | None = self.resource.get("encryption", {}).get("defaultKmsKeyName")
        return key

    def find(self, name: str, generation: int | None = None) -> Version | None:
        """Return a generation of an object, by default the live one."""
        for version in reversed(self.history.get(name, ())):
            if generation == version.generation or (generation is None and not version.deleted):
                return version
        return None

    def get(self, name: str, generation: int | None = None) -> Version:
        version = self.find(name, generation)
        if version is None:
            raise errors.no_object(self.name, name)
        return version

    def put(self, version: Version) -> None:
        """Make a generation the live one."""
        self.drop(version.name)
        if version.name not in self.history:
            self._sorted = None
        self.history.setdefault(version.name, []).append(version)

    def change(self, version: Version) -> None:
        """Keep a generation's new metadata."""
        history = self.history[version.name]
        numbers = [each.generation for each in history]
        history[numbers.index(version.generation)] = version

    def drop(self, name: str, generation: int | None = None) -> None:
        """End a live object's life, or delete one generation for ever."""
        version = self.find(name, generation)
        if version is None:
            return
        history = self.history[name]
        history.remove(version)
        if generation is None and self.is_versioned:
            history.append(replace(version, deleted=now()))
        if not history:
            del self.history[name]
            self._sorted = None

    def listing(self, page: Page) -> Listing:
        """Return a page of objects in the order of their names' UTF-8 bytes."""
        listing, seen = Listing(), 0
        last = ""
        for name, prefix in self._entries(page):
            found = self._listed(name, page)
            if not found and prefix is None:
                continue
            if seen >= page.limit:
                listing.next = last
                break
            if prefix is not None:
                listing.prefixes.append(prefix)
            if prefix is None or (page.trailing and prefix == name):
                listing.versions += found
            last, seen = prefix or name, seen + 1
        return listing

    def _listed(self, name: str, page: Page) -> list[Version]:
        if page.versions:
            return list(self.history[name])
        version = self.find(name)
        return [version] if version else []

    def _entries(self, page: Page) -> Iterator[tuple[str, str | None]]:
        """Yield names, each with the common prefix that stands for it and its like."""
        names = self._names()
        at = bisect.bisect_left(names, max(page.prefix, page.start))
        if page.after:
            at = max(at, bisect.bisect_right(names, page.after))
            if page.delimiter and page.after[len(page.prefix) :].endswith(page.delimiter):
                at = max(at, bisect.bisect_left(names, _past(page.after)))
        while at < len(names):
            name = names[at]
            if not name.startswith(page.prefix) or (page.end and name >= page.end):
                return
            cut = name.find(page.delimiter, len(page.prefix)) if page.delimiter else -1
            if cut < 0:
                yield name, None
                at += 1
                continue
            prefix = name[: cut + len(page.delimiter)]
            past = bisect.bisect_left(names, _past(prefix), at)
            if any(self._listed(each, page) for each in names[at:past]):
                yield name, prefix
            at = past

    def _names(self) -> list[str]:
        """Return the names in order; sorted when asked for, so that writing stays quick."""
        if self._sorted is None:
            self._sorted = sorted(self.history)
        return self._sorted


def _past(prefix: str) -> str:
    """Return what sorts after every name that begins with the prefix."""
    return prefix + "\U0010ffff" * 2


class Storage:
    """All buckets there are. `lock` is held by whatever looks at one and changes it by that."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.buckets: dict[str, Bucket] = {}
        self._generation = 0

    def bucket(self, name: str) -> Bucket:
        bucket = self.buckets.get(name)
        if bucket is None:
            raise errors.no_bucket()
        return bucket

    def write(
        self,
        bucket_name: str,
        name: str,
        content: Content,
        fields: Resource,
        conditions: Conditions = ALWAYS,
    ) -> Version:
        """Make a new generation the live one, if the conditions hold at that moment."""
        check_name(name)
        check_metadata(fields)
        with self.lock:
            bucket = self.bucket(bucket_name)
            conditions.check(bucket.find(name))
            if bucket.kms_key:
                fields = {"kmsKeyName": f"{bucket.kms_key}/cryptoKeyVersions/1", **fields}
            time_, generation = now(), self._next_generation()
            defaults = {"storageClass": bucket.resource["storageClass"]}
            version = Version(
                bucket_name, name, content, {**defaults, **fields}, generation, 1, time_, time_
            )
            bucket.put(version)
            return version

    def delete(
        self, bucket_name: str, name: str, generation: int | None, conditions: Conditions = ALWAYS
    ) -> None:
        with self.lock:
            bucket = self.bucket(bucket_name)
            conditions.check(bucket.get(name, generation))
            bucket.drop(name, generation)

    def _next_generation(self) -> int:
        """Return a number larger than all before: Google's are microseconds."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation
