"""A resolver to which every name of AWS is one address, and an instance's name its own."""

import re
import socket
import struct

A, INTERNET = 1, 1
ANSWERED, ABSENT = 0x8180, 0x8183  # a response, recursion on both sides; and NXDOMAIN
TTL_S = 1
HEADER = struct.Struct("!6H")
QUESTION = struct.Struct("!2H")
POINTER = 0xC00C  # to the question's name
PACKET_BYTES = 4096
AWS = (".amazonaws.com", ".api.aws")
INSTANCE = re.compile(r"ip-(\d+)-(\d+)-(\d+)-(\d+)\.(?:ec2|[a-z0-9-]+\.compute)\.internal")


def serve_one(receiver, services):
    """Answer the packet that has come; `services` is the address of all of AWS."""
    packet, client = receiver.recvfrom(PACKET_BYTES)
    if reply := answer(packet, services):
        receiver.sendto(reply, client)


def answer(packet, services):
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


def resolve(name, services):
    """Return the address of a name, None where there is no such name."""
    if instance := INSTANCE.fullmatch(name):
        return ".".join(instance.groups())
    return services if name.endswith(AWS) else None


def _name(packet, at):
    labels = []
    while size := packet[at]:
        labels.append(packet[at + 1 : at + 1 + size].decode("ascii"))
        at += 1 + size
    return ".".join(labels), at + 1
