"""What the fake keeps: buckets, and the generations of their objects, changed one at a time."""

from __future__ import annotations

import base64
import bisect
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.rig.gcs import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.gcs.content import Content

Resource = dict[str, Any]
NAME_MAX_BYTES = 1024
METADATA_MAX_BYTES = 8192


@dataclass(frozen=True)
class Version:
    """One generation of an object; `fields` are what a writer may set, in the JSON's names."""

    bucket: str
    name: str
    content: Content
    fields: Resource
    generation: int
    metageneration: int
    created: datetime
    updated: datetime
    deleted: datetime | None = None

    @property
    def etag(self) -> str:
        """The tag of the JSON interface, which stands for the generation."""
        return base64.b64encode(b"%d/%d" % (self.generation, self.metageneration)).decode()

    @property
    def xml_etag(self) -> str:
        """The tag of the XML interface, which stands for the content where Google knows its MD5."""
        return f'"{self.content.md5_hex or "-" + self.etag}"'


@dataclass(frozen=True)
class Conditions:
    """The generations at which a request is to be done; None is no condition."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    def check(self, version: Version | None, *, reading: bool = False) -> None:
        """Raise what Google answers when a condition does not hold; 0 is "there is no object"."""
        generation = version.generation if version else 0
        metageneration = version.metageneration if version else 0
        if self.generation not in {None, generation}:
            raise errors.condition_not_met()
        if self.metageneration not in {None, metageneration}:
            raise errors.condition_not_met()
        absent = version is None and self.not_generation not in {None, 0}
        if absent or self.not_generation == generation or self.not_metageneration == metageneration:
            raise errors.not_modified() if reading and version else errors.condition_not_met()


ALWAYS = Conditions()


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

    def list(self, page: Page) -> Listing:
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
            if page.delimiter and page.after.endswith(page.delimiter):
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
        if sum(len(k) + len(v) for k, v in fields.get("metadata", {}).items()) > METADATA_MAX_BYTES:
            raise errors.invalid("Custom metadata is larger than 8 KiB.", code="MetadataTooLarge")
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
            version = bucket.find(name, generation)
            if version is None:
                if conditions.generation:
                    raise errors.condition_not_met()
                raise errors.no_object(bucket_name, name)
            conditions.check(version)
            bucket.drop(name, generation)

    def _next_generation(self) -> int:
        """Return a number larger than all before: Google's are microseconds."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation


def check_name(name: str) -> None:
    if not name:
        raise errors.invalid("Required", reason="required")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = NAME_MAX_BYTES + 1
    forbidden = name in {".", ".."} or name.startswith(".well-known/acme-challenge/")
    if size > NAME_MAX_BYTES or forbidden or "\r" in name or "\n" in name:
        raise errors.invalid(f"Disallowed object name: '{name[:100]}'", code="InvalidObjectName")


def now() -> datetime:
    return datetime.now(UTC)
