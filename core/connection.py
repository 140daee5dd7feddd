"""Bytes between the socket and the memory that comes from disk or goes there, and no copy more.

A client for all cases copies each byte several times, and takes longer over a small answer than
the network does. This one is for the plain case alone: HTTP/1.1 over connections that stay open,
an answer of known length that is what was hoped for. Whatever else happens before the first byte
of the answer's body (a proxy, another status, no connection) is None here, and the caller asks
again by the way that knows all cases and names what is wrong.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections import deque
from socket import IPPROTO_TCP, TCP_NODELAY, create_connection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from llmcloud.runtime.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator, Mapping

HEAD_BYTES = 1 << 16
CHUNK_BYTES = 1 << 18
END = b"\r\n\r\n"
OF_OBJECTS = "etag"  # any answer without it is not about an object
MOST_IN_VAIN = 8  # requests in a row: then this way leads nowhere
BROKEN = (OSError, ValueError)  # of sockets; of what is no HTTP


class Waits(NamedTuple):
    """How long to wait at most, in seconds: for a connection, for any byte, for a whole answer."""

    connect_s: float
    read_s: float
    whole_s: float


class Answer(NamedTuple):
    """An answer of 200 or 206; names of headers are in small letters.

    A chunk lies in memory that the next one is put into.
    """

    headers: dict[str, str]
    chunks: Iterator[bytes | memoryview]


class _Request(NamedTuple):
    head: bytes
    body: bytes
    hoped: str  # the status


class Host:
    """One host and its open connections; thread-safe."""

    def __init__(self, url: str, authority: bytes | None, waits: Waits) -> None:
        parts = urlsplit(url)
        self.name = parts.netloc.rpartition("@")[2]
        self._waits = waits
        self._address = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = trust(authority) if parts.scheme == "https" else None
        self._idle: deque[_Connection] = deque()
        self._in_vain = MOST_IN_VAIN if _is_proxied(parts.scheme, self._address[0]) else 0

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer | None:
        """Return the answer to a request, unless it takes more than this can do.

        Unavailable when it does not come in time, or its chunks end too early.
        """
        if body:
            headers = {**headers, "content-length": str(len(body))}
        head = _head(f"{method} {target}", {"host": self.name, **headers})
        request = _Request(head, body, "206" if "range" in headers else "200")
        while self._in_vain < MOST_IN_VAIN:
            with contextlib.suppress(IndexError):
                if answer := self._asked(self._idle.pop(), request):
                    return answer
                continue  # most likely the host had closed it
            answer = self._asked(self._connected(), request)
            self._in_vain = 0 if answer else self._in_vain + 1
            return answer
        return None

    def _connected(self) -> _Connection | None:
        with contextlib.ExitStack() as undo, contextlib.suppress(OSError):
            made = create_connection(self._address, self._waits.connect_s)
            undo.callback(made.close)
            made.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            if self._tls:
                made = self._tls.wrap_socket(made, server_hostname=self._address[0])
            made.settimeout(self._waits.read_s)
            undo.pop_all()
            return _Connection(made)
        return None

    def _asked(self, connection: _Connection | None, request: _Request) -> Answer | None:
        if not connection:
            return None
        try:
            connection.send(request, self._waits)
            headers, size, begin = connection.receive(request)
        except TimeoutError as error:
            connection.close()
            raise Unavailable("The store did not answer in time.", where=self.name) from error
        except BROKEN:
            connection.close()
            return None
        if len(begin) < size:
            return Answer(headers, self._rest(connection, headers, size, begin))
        self._keep(connection, headers)
        return Answer(headers, iter((begin,)))

    def _rest(
        self, connection: _Connection, headers: dict[str, str], size: int, begin: bytes
    ) -> Iterator[memoryview]:
        with contextlib.ExitStack() as unless_whole:
            unless_whole.callback(connection.close)
            try:
                yield from connection.body(begin, size, time.monotonic() + self._waits.whole_s)
            except OSError as error:
                reason = error.strerror or "it took too long"
                raise Unavailable(f"The answer broke off: {reason}.", where=self.name) from error
            unless_whole.pop_all()
        self._keep(connection, headers)

    def _keep(self, connection: _Connection, headers: dict[str, str]) -> None:
        if headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            self._idle.append(connection)


class _Connection:
    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        weakref.finalize(self, connected.close)  # who ends in the middle of a body forgets it
        self._buffer = bytearray(HEAD_BYTES)
        self._view = memoryview(self._buffer)

    def send(self, request: _Request, waits: Waits) -> None:
        """Send a request; from then on nothing is waited for longer than any byte may take."""
        self._socket.sendall(request.head)
        if request.body:
            self._socket.settimeout(waits.whole_s)  # of all that is sent at once
            self._socket.sendall(request.body)
            self._socket.settimeout(waits.read_s)

    def receive(self, request: _Request) -> tuple[dict[str, str], int, bytes]:
        """Return the headers of the answer that was hoped for, its body's size and first bytes."""
        length, end = 0, -1
        while end < 0:
            received = self._socket.recv_into(self._view[length:])
            if not received:
                raise ConnectionError
            end = self._buffer.find(END, max(length - len(END), 0), length + received)
            length += received
        status, headers = _parsed(self._buffer[:end])
        size = 0 if request.head.startswith(b"HEAD ") else int(headers.get("content-length", -1))
        begin = end + len(END)
        if status != request.hoped or length - begin > size or OF_OBJECTS not in headers:
            raise ValueError(status)
        return headers, size, bytes(self._view[begin:length])

    def body(self, begin: bytes, size: int, until: float) -> Iterator[memoryview]:
        """Yield the bytes of a body, of which some have come already; OSError when they end."""
        memory = memoryview(bytearray(min(CHUNK_BYTES, size)))
        filled = len(begin)
        memory[:filled] = begin
        while size:
            chunk = memory[: min(CHUNK_BYTES, size)]
            while filled < len(chunk):
                received = self._socket.recv_into(chunk[filled:])
                if not received:
                    raise ConnectionError(0, "the connection was closed")
                if time.monotonic() > until:
                    raise TimeoutError
                filled += received
            yield chunk
            size, filled = size - filled, 0

    def close(self) -> None:
        self._socket.close()


def _is_proxied(scheme: str, host: str) -> bool:
    if not any(name.lower() in {f"{scheme}_proxy", "all_proxy"} for name in os.environ):
        return False
    from urllib.request import proxy_bypass

    return not proxy_bypass(host)


def _head(line: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{line} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
    if not "".join(lines).isprintable():
        raise InvalidRequest("A name in the request can't be sent.", where=ascii(line))
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _parsed(head: bytearray) -> tuple[str, dict[str, str]]:
    """Return the status and the headers; ValueError for what is no HTTP/1.1."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = first.split(" ", 2)
    if version != "HTTP/1.1":
        raise ValueError(first)
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        said = headers.get(name := name.lower())  # Google's digests have a line each
        headers[name] = f"{said}, {value.strip()}" if said else value.strip()
    return status, headers


def trust(authority: bytes | None) -> ssl.SSLContext:
    """Return how certificates are checked: by the system's authorities, and another's in PEM."""
    import ssl

    made = ssl.create_default_context()
    if authority:
        made.load_verify_locations(cadata=authority.decode("ascii", "replace"))
    return made
