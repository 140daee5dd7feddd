"""The bytes of an object as they arrived, in chunks, and their digests."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Content:
    """Immutable bytes; `md5` is None for what was put together from parts, as with Google."""

    chunks: tuple[bytes, ...]
    size: int
    crc32c: str
    md5: str | None
    components: int | None = None

    @staticmethod
    def of(pieces: Iterable[bytes]) -> Content:
        chunks = tuple(pieces)
        md5, crc = hashlib.md5(usedforsecurity=False), 0
        for chunk in chunks:
            md5.update(chunk)
            crc = google_crc32c.extend(crc, chunk)
        return Content(
            chunks, sum(map(len, chunks)), _crc_text(crc), base64.b64encode(md5.digest()).decode()
        )

    @staticmethod
    def joined(parts: Iterable[Content], *, composed: bool) -> Content:
        parts = list(parts)
        chunks = tuple(chunk for part in parts for chunk in part.chunks)
        crc = 0
        for chunk in chunks:
            crc = google_crc32c.extend(crc, chunk)
        components = sum(part.components or 1 for part in parts) if composed else None
        return Content(chunks, sum(map(len, chunks)), _crc_text(crc), None, components)

    @property
    def md5_hex(self) -> str | None:
        return None if self.md5 is None else base64.b64decode(self.md5).hex()

    @property
    def goog_hash(self) -> str:
        """The value of the x-goog-hash header."""
        return f"crc32c={self.crc32c}" + (f",md5={self.md5}" if self.md5 else "")

    def slices(self, start: int, stop: int) -> list[memoryview]:
        """Return the bytes from `start` to `stop`, not copied."""
        found, offset = [], 0
        for chunk in self.chunks:
            low, high = max(start - offset, 0), min(stop - offset, len(chunk))
            if low < high:
                found.append(memoryview(chunk)[low:high])
            offset += len(chunk)
        return found

    def whole(self) -> bytes:
        return b"".join(self.chunks)


def _crc_text(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()
