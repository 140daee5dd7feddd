"""The digest that travels with an object: CRC-32C, which S3 and GCS check themselves."""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Any

from fastcrc.crc32 import iscsi

if TYPE_CHECKING:
    from collections.abc import Iterable

REVERSED_POLYNOMIAL = 0x82F63B78
BITS = 32


def crc32c(data: Any, before: int = 0) -> int:
    """Return the digest of a buffer that follows others whose digest is `before`."""
    return iscsi(data, before)


def crc32c_of(chunks: Iterable[Any]) -> int:
    """Return the digest of buffers in a row."""
    digest = 0
    for chunk in chunks:
        digest = iscsi(chunk, digest)
    return digest


def combined(parts: Iterable[tuple[int, int]]) -> int:
    """Return the digest of parts in a row, each given by its digest and its size in bytes."""
    whole = 0
    for digest, size in parts:
        whole = _times(_shift(size), whole) ^ digest
    return whole


def base64_of(crc32c: int) -> str:
    """Return a digest as S3 and Google write it."""
    return base64.b64encode(crc32c.to_bytes(BITS // 8, "big")).decode()


def from_base64(text: str) -> int:
    """Return a digest that S3 or Google has written."""
    return int.from_bytes(base64.b64decode(text), "big")


@cache
def _shift(size: int) -> tuple[int, ...]:
    """Return the matrix over GF(2) that takes a digest past `size` zero bytes; a column a bit.

    The method is zlib's crc32_combine: square the matrix of one bit, multiply those needed.
    """
    one_bit = (REVERSED_POLYNOMIAL, *(1 << bit for bit in range(BITS - 1)))
    power, found = one_bit, tuple(1 << bit for bit in range(BITS))
    count = 8 * size
    while count:
        if count & 1:
            found = _product(power, found)
        power, count = _product(power, power), count >> 1
    return found


def _product(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_times(left, column) for column in right)


def _times(matrix: tuple[int, ...], vector: int) -> int:
    result = 0
    for column in matrix:
        if not vector:
            break
        if vector & 1:
            result ^= column
        vector >>= 1
    return result
