"""One generation of an object, and the conditions that a request may put on it."""

from __future__ import annotations

import base64
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.rig.gcs import errors

if TYPE_CHECKING:
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


def check_metadata(fields: Resource) -> None:
    metadata = fields.get("metadata", {})
    if sum(len(name) + len(value) for name, value in metadata.items()) > METADATA_MAX_BYTES:
        raise errors.invalid("Custom metadata is larger than 8 KiB.", code="MetadataTooLarge")


def time_of(text: str) -> str:
    """Return a time that somebody has set, as Google writes it."""
    with contextlib.suppress(ValueError):
        if (time := datetime.fromisoformat(text)).tzinfo:
            return time_text(time.astimezone(UTC))
    raise errors.invalid(f"Invalid argument: custom time {text}.")


def now() -> datetime:
    return datetime.now(UTC)


def time_text(time: datetime) -> str:
    """Return a time as Google writes it: in milliseconds."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
