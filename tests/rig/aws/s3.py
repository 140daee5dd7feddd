"""S3, which another emulator keeps: requests are passed on whole, however long they are."""

from __future__ import annotations

import http.client
import itertools
import re
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode, urlsplit

from moto.core.request import Request as MotoRequest
from moto.core.routing import NotFound, get_service_router
from tests.rig.gcs.server import Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.aws.call import Call
    from tests.rig.gcs.server import Request

VIRTUAL = re.compile(r"(?P<bucket>.+)\.s3(\.dualstack)?(\.[a-z0-9-]+)?\.amazonaws\.com$")
HOP_BY_HOP = {"host", "connection", "expect", "transfer-encoding", "content-length"}
PIECE_BYTES = 1 << 20
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Asked:
    """What a request asks of S3: its operation's name, the bucket and the key."""

    operation: str
    bucket: str = ""
    key: str = ""


def by_path(request: Request) -> Request:
    """Return a request with the bucket in its path, also if the host's name had it."""
    host = request.headers.get("host", "").partition(":")[0]
    found = VIRTUAL.match(host)
    return replace(request, path=f"/{found['bucket']}{request.path}") if found else request


def asked(request: Request) -> Asked:
    """Say what a request with the bucket in its path is for."""
    url = f"http://s3.amazonaws.com{request.path}?{urlencode(request.query)}"
    # The host may name the bucket once more, and make of a listing the reading of an object.
    headers = {name: value for name, value in request.headers.items() if name != "host"}
    seen = MotoRequest.from_primitives(request.verb, url, headers)
    try:
        operation, _ = get_service_router("s3").match(seen)
    except NotFound:
        return Asked("")
    bucket, _, key = unquote(request.path).removeprefix("/").partition("/")
    return Asked(operation.name, bucket, key)


def decoded(source: str) -> str:
    """Return what `x-amz-copy-source` names, without a version."""
    return unquote(source.partition("?versionId=")[0])


def forward(call: Call, upstream: str) -> Response:
    """Pass a request on to the emulator, and its answer back, piece by piece."""
    parts = urlsplit(upstream)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    _send(connection, call)
    answer = connection.getresponse()
    kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
    length = answer.getheader("content-length")
    if call.request.verb == "HEAD" or answer.status in {204, 304}:
        connection.close()
        return Response(answer.status, kept, size=int(length or 0))
    if length is None or int(length) <= PIECE_BYTES:
        body = answer.read()
        connection.close()
        return Response(answer.status, kept, (body,))
    pieces = _pieces(connection, answer)
    weakref.finalize(pieces, _close, connection, answer)  # a fault may drop it unread
    return Response(answer.status, kept, pieces, size=int(length))


def _send(connection: http.client.HTTPConnection, call: Call) -> None:
    request = call.request
    query = urlencode(request.query, quote_via=quote)
    target = f"{request.path}?{query}" if query else request.path
    connection.putrequest(request.verb, target, skip_accept_encoding=True)
    for name, value in request.headers.items():
        if name not in HOP_BY_HOP - {"content-length", "transfer-encoding"}:
            connection.putheader(name, value.encode())
    connection.endheaders()
    is_chunked = "transfer-encoding" in request.headers
    read = [call.body] if call.body else []
    for piece in itertools.chain(read, request.body.pieces(PIECE_BYTES)):
        connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
    if is_chunked:
        connection.send(b"0\r\n\r\n")


def _pieces(
    connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
) -> Iterator[bytes]:
    try:
        while piece := answer.read(PIECE_BYTES):
            yield piece
    finally:
        _close(connection, answer)


def _close(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
    answer.close()
    connection.close()
