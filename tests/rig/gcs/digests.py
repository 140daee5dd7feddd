"""The digests that a client declares of what it sends: a wrong one is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.rig.gcs import errors

if TYPE_CHECKING:
    from tests.rig.gcs.content import Content


def check_digests(content: Content, headers: dict[str, str], fields: dict[str, Any]) -> None:
    """Raise what Google answers when the content is not what its headers or metadata say."""
    declared = [("md5", fields.get("md5Hash")), ("crc32c", fields.get("crc32c"))]
    declared.append(("md5", headers.get("content-md5")))
    pairs = [each.strip().partition("=") for each in headers.get("x-goog-hash", "").split(",")]
    declared += [(kind, value) for kind, _, value in pairs]
    for kind, value in declared:
        if value and kind == "md5" and value != content.md5:
            raise errors.wrong_digest("MD5 hash", value, str(content.md5))
        if value and kind == "crc32c" and value != content.crc32c:
            raise errors.wrong_digest("CRC32C", value, content.crc32c)
