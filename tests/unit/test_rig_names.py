"""The resolver of the rig answers any packet, or leaves it."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.aws.inside import names

SERVICES = "198.18.0.1"


def question(name: str, kind: int = names.A) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    asked = names.QUESTION.pack(kind, names.INTERNET)
    return names.HEADER.pack(7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + asked


@pytest.mark.parametrize("name", ["s3.amazonaws.com", "A.S3.eu-west-1.AmazonAWS.com", "x.api.aws"])
def test_a_name_of_aws_is_answered_with_its_address(name: str) -> None:
    reply = names.answer(question(name), SERVICES)
    assert names.HEADER.unpack_from(reply) == (7, names.ANSWERED, 1, 1, 0, 0)
    assert reply.endswith(socket.inet_aton(SERVICES))


def test_aws_has_no_ipv6_address() -> None:
    """No record, but no error either: clients go on with IPv4."""
    reply = names.answer(question("s3.amazonaws.com", 28), SERVICES)
    assert names.HEADER.unpack(reply[:12]) == (7, names.ANSWERED, 1, 0, 0, 0)


@pytest.mark.parametrize("name", ["example.org", "amazonaws.com", "notamazonaws.com", "internal"])
def test_another_name_does_not_exist(name: str) -> None:
    reply = names.answer(question(name), SERVICES)
    assert names.HEADER.unpack_from(reply) == (7, names.ABSENT, 1, 0, 0, 0)


@given(st.binary(max_size=64))
def test_no_packet_stops_it(packet: bytes) -> None:
    reply = names.answer(packet, SERVICES)
    assert reply is None or reply[:2] == packet[:2]
