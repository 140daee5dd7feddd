"""Batches: several JSON requests in the parts of one body, as `client.batch()` sends them."""

from __future__ import annotations

import io
from email.message import Message
from email.parser import BytesParser
from typing import TYPE_CHECKING

from tests.rig.gcs import errors
from tests.rig.gcs.server import PHRASES, Body, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

BOUNDARY = "batch_of_answers"
CALLS_MAX = 100


def answer(request: Request, answer_one: Callable[[Request], Response]) -> Response:
    """Answer each part by itself: one that is refused does not stop the others."""
    kind = request.headers.get("content-type", "").encode()
    whole = BytesParser().parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + request.body.read())
    parts = whole.get_payload()
    if not isinstance(parts, list):
        raise errors.invalid("Failed to parse batch request.", reason="badRequest")
    if len(parts) > CALLS_MAX:
        raise errors.invalid(f"The batch has more than {CALLS_MAX} calls.", reason="badRequest")
    lines = b""
    for part in parts:
        assert isinstance(part, Message)
        lines += _part(part, answer_one(_request(part, request)))
    lines += f"--{BOUNDARY}--\r\n".encode()
    return Response(200, {"Content-Type": f"multipart/mixed; boundary={BOUNDARY}"}, (lines,))


def _request(part: Message, outer: Request) -> Request:
    raw = part.get_payload(decode=True)
    assert isinstance(raw, bytes)
    first, _, rest = raw.partition(b"\n")
    verb, target, *_ = first.decode().split()
    message = BytesParser().parsebytes(rest)
    body = message.get_payload(decode=True)
    assert isinstance(body, bytes)
    headers = {name.lower(): value for name, value in message.items()}
    headers = {**headers, "host": outer.headers["host"], "content-length": str(len(body))}
    headers.setdefault("authorization", outer.headers.get("authorization", ""))
    target = target.removeprefix(outer.host)
    return Request.parsed(verb, target, headers, Body(io.BytesIO(body), headers))


def _part(asked: Message, response: Response) -> bytes:
    number = asked.get("Content-ID", "<>").strip("<>")
    body = b"".join(response.chunks)
    lines = [
        f"--{BOUNDARY}",
        "Content-Type: application/http",
        f"Content-ID: <response-{number}>",
        "",
        f"HTTP/1.1 {response.status} {PHRASES[response.status]}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body + b"\r\n"
