"""As much of protobuf's wire format as event files need."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
VARINT_BITS_MAX = 63


@dataclass
class Fields:
    """A message's fields by number, in the order of the wire, not yet typed."""

    _varints: dict[int, list[int]] = field(default_factory=dict)
    _bytes: dict[int, list[bytes]] = field(default_factory=dict)
    _fixed: dict[int, list[bytes]] = field(default_factory=dict)

    def messages(self, number: int) -> list[bytes]:
        """Return a repeated field of messages, strings or bytes."""
        return self._bytes.get(number, [])

    def integer(self, number: int) -> int:
        """Return a signed 64-bit field; 0 when absent, as protobuf has it."""
        value = self._varints.get(number, [0])[-1]
        return value - 2**64 if value >= 2**63 else value

    def integers(self, number: int) -> list[int]:
        """Return a repeated field of varints, packed or not."""
        found = list(self._varints.get(number, []))
        for packed in self.messages(number):
            at = 0
            while at < len(packed):
                value, at = _varint(packed, at)
                found.append(value)
        return found

    def fixed(self, number: int) -> bytes:
        """Return a repeated field of fixed-size numbers, packed or not, as their bytes."""
        return b"".join(self._fixed.get(number, []) + self.messages(number))

    def double(self, number: int) -> float | None:
        """Return a double field."""
        return _unpack("<d", self._fixed.get(number))

    def float(self, number: int) -> float | None:
        """Return a float field."""
        return _unpack("<f", self._fixed.get(number))


def read_fields(data: bytes) -> Fields:
    """Split a message into its fields; ValueError when it is none."""
    fields, at = Fields(), 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            fields._varints.setdefault(number, []).append(value)  # noqa: SLF001
            continue
        if wire == BYTES:
            size, at = _varint(data, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(data):
            raise ValueError("cut off")
        into = fields._bytes if wire == BYTES else fields._fixed  # noqa: SLF001
        into.setdefault(number, []).append(data[at : at + size])
        at += size
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, VARINT_BITS_MAX + 7, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise ValueError("no varint")


def _unpack(layout: str, found: list[bytes] | None) -> float | None:
    if not found or len(found[-1]) != struct.calcsize(layout):
        return None
    (number,) = struct.unpack(layout, found[-1])
    return float(number)
