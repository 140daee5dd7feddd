"""TensorBoard's event files, read without TensorFlow."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from llmcloud.runtime.metrics.metric import Reading, canonical
from llmcloud.runtime.metrics.protobuf import Fields, read_fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

HEADER_BYTES, FOOTER_BYTES = 12, 4
RECORD_BYTES_MAX = 1 << 20  # a bigger one holds pictures
RECORDS_A_POLL = 20_000
# Keras counts these in epochs, not in steps.
COUNTED_IN_EPOCHS = "epoch_"

# Field numbers of tensorflow's event.proto, summary.proto and tensor.proto.
WALL_TIME, STEP, SUMMARY = 1, 2, 5
VALUE, TAG, SIMPLE_VALUE, TENSOR = 1, 1, 2, 8
DTYPE, CONTENT = 1, 4
# dtype: (the field of the unpacked numbers, struct's letter for one)
KINDS = {1: (5, "f"), 2: (6, "d"), 19: (13, "e")}


class EventFile:
    """One event file that may still grow."""

    trust = 2

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def poll(self) -> list[Reading]:
        """Return the scalars of the whole records since the last call.

        A record that is cut off, or not yet what its checksum says, is tried again.
        """
        try:
            with self._path.open("rb") as file:
                return [
                    reading
                    for record in self._records(file)
                    if (reading := read_event(record)) is not None
                ]
        except OSError:
            return []

    def _records(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the records of TFRecord's framing: length, its checksum, data, its checksum."""
        size = os.fstat(file.fileno()).st_size
        for _ in range(RECORDS_A_POLL):
            file.seek(self._offset)
            header = file.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                return
            length, checksum = struct.unpack("<QI", header)
            end = self._offset + HEADER_BYTES + length + FOOTER_BYTES
            if masked_crc32c(header[:8]) != checksum or end > size:
                return
            if length <= RECORD_BYTES_MAX:
                data = file.read(length)
                (checksum,) = struct.unpack("<I", file.read(FOOTER_BYTES))
                if masked_crc32c(data) != checksum:
                    return
                yield data
            self._offset = end


def read_event(data: bytes) -> Reading | None:
    """Read one serialised Event; None when it holds no scalar."""
    try:
        event = read_fields(data)
        values = dict(
            scalar
            for summary in event.messages(SUMMARY)
            for value in read_fields(summary).messages(VALUE)
            if (scalar := _scalar(read_fields(value))) is not None
        )
    except ValueError:
        return None
    return Reading(event.integer(STEP), values, None, event.double(WALL_TIME)) if values else None


def _scalar(value: Fields) -> tuple[str, float] | None:
    tag = b"".join(value.messages(TAG)[-1:]).decode(errors="replace")
    if not tag or tag.startswith(COUNTED_IN_EPOCHS):
        return None
    number = value.float(SIMPLE_VALUE)
    for tensor in value.messages(TENSOR):
        number = _tensor(read_fields(tensor))
    # Most are 32-bit: 0.3 came as 0.30000001192.
    return None if number is None else (canonical(tag), float(f"{number:.7g}"))


def _tensor(tensor: Fields) -> float | None:
    """Return the only number of a tensor; None when it has more, or another type."""
    field, letter = KINDS.get(tensor.integer(DTYPE), (0, "f"))
    if not field:
        return None
    if content := b"".join(tensor.messages(CONTENT)):
        return _only("<" + letter, content)
    if letter == "e":  # each half is the low bits of a varint
        halves = tensor.integers(field)
        return _only("<e", struct.pack("<H", halves[0] & 0xFFFF)) if len(halves) == 1 else None
    return _only("<" + letter, tensor.fixed(field))


def _only(layout: str, content: bytes) -> float | None:
    if len(content) != struct.calcsize(layout):
        return None
    (number,) = struct.unpack(layout, content)
    return float(number)


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


CRC32C = _table()


def masked_crc32c(data: bytes) -> int:
    """Return TFRecord's checksum."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
