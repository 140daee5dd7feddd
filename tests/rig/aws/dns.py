"""A resolver to which every name of AWS is one address, and an instance's name its own."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from typing import TYPE_CHECKING

import botocore.session

if TYPE_CHECKING:
    from collections.abc import Iterator

A, AAAA, INTERNET = 1, 28, 1
ANSWERED, ABSENT = 0x8180, 0x8183  # a response, recursion on both sides; and NXDOMAIN
TTL_S = 1
HEADER = struct.Struct("!6H")
QUESTION = struct.Struct("!2H")
POINTER = 0xC00C  # to the question's name
AWS = ("amazonaws.com", "api.aws")
REGIONS = botocore.session.Session().get_available_regions("ec2")
INSTANCE = re.compile(r"ip-(\d+)-(\d+)-(\d+)-(\d+)\.(?:ec2|[a-z0-9-]+\.compute)\.internal")
CERTIFIED = [
    "*.amazonaws.com",
    "*.s3.amazonaws.com",
    *(f"*.{region}.amazonaws.com" for region in REGIONS),
    *(f"*.s3.{region}.amazonaws.com" for region in REGIONS),
    *(
        f"api.{name}.{region}.amazonaws.com"
        for name in ("sagemaker", "pricing", "ecr")
        for region in REGIONS
    ),
]


@contextlib.contextmanager
def serving(receiver: socket.socket, services: str) -> Iterator[None]:
    """Answer what comes on a UDP socket, in a thread; `services` is AWS's address."""
    worker = threading.Thread(target=_serve, args=(receiver, services), daemon=True)
    worker.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it has no peer, but this wakes the thread
            receiver.shutdown(socket.SHUT_RDWR)
        worker.join()
        receiver.close()


def _serve(receiver: socket.socket, services: str) -> None:
    while True:
        packet, client = receiver.recvfrom(4096)
        if not packet and client is None:
            return
        if reply := answer(packet, services):
            receiver.sendto(reply, client)


def answer(packet: bytes, services: str) -> bytes | None:
    """Answer one packet, RFC 1035; None where it is no question."""
    try:
        number, _, _, _, _, _ = HEADER.unpack_from(packet)
        name, at = _name(packet, HEADER.size)
        kind, _ = QUESTION.unpack_from(packet, at)
    except (struct.error, IndexError, UnicodeDecodeError):
        return None
    question = packet[HEADER.size : at + QUESTION.size]
    address = resolve(name.lower(), services)
    if address is None:
        return HEADER.pack(number, ABSENT, 1, 0, 0, 0) + question
    if kind != A:
        return HEADER.pack(number, ANSWERED, 1, 0, 0, 0) + question
    record = struct.pack("!3HIH", POINTER, A, INTERNET, TTL_S, 4) + socket.inet_aton(address)
    return HEADER.pack(number, ANSWERED, 1, 1, 0, 0) + question + record


def resolve(name: str, services: str) -> str | None:
    """Return the address of a name, None where there is no such name."""
    if instance := INSTANCE.fullmatch(name):
        return ".".join(instance.groups())
    return services if name.endswith(tuple(f".{domain}" for domain in AWS)) else None


def _name(packet: bytes, at: int) -> tuple[str, int]:
    labels = []
    while size := packet[at]:
        labels.append(packet[at + 1 : at + 1 + size].decode("ascii"))
        at += 1 + size
    return ".".join(labels), at + 1
