"""HTTP/1.1 with keep-alive, a thread a connection: as little of it as the SDKs need, but quick."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import sys
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from tests.rig.gcs import errors

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator
    from io import BufferedIOBase

PIECE_BYTES = 8 << 20
PHRASES = {status.value: status.phrase for status in HTTPStatus}


def parsed_int(name: str, value: str) -> int:
    """Return the number that a client sent."""
    if not value.isdecimal():
        raise errors.invalid(f"Invalid value for {name}: {value}")
    return int(value)


class Interrupted(Exception):
    """The connection ended in the middle of a request."""


class Reset(Interrupted):
    """An answer that is none: the client gets RST."""


class Body:
    """A request's body, read when it is asked for, so that half of one can be kept."""

    def __init__(self, file: BufferedIOBase, headers: dict[str, str]) -> None:
        self._file = file
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._left = 0 if self._chunked else int(headers.get("content-length", "0"))

    def pieces(self, size: int = PIECE_BYTES) -> Iterator[bytes]:
        """Yield what is left of the body, `size` bytes at a time; Interrupted when it is cut."""
        while self._left or self._chunked:
            if not self._left:
                self._left = int(self._line().partition(b";")[0], 16)
                if not self._left:
                    self._chunked = False
                    while self._line().strip():
                        pass
                    return
            piece = self._file.read(min(size, self._left))
            self._left -= len(piece)
            if piece:
                yield piece
            if self._left and len(piece) < size:
                raise Interrupted
            if self._chunked and not self._left:
                self._line()

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise Interrupted
        return line


@dataclass(frozen=True)
class Request:
    """One request; `path` is as it was sent, still quoted, the headers' names are lower case.

    `client` is the address of whoever sent it.
    """

    verb: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Body
    client: str = ""

    @staticmethod
    def parsed(
        verb: str, target: str, headers: dict[str, str], body: Body, client: str = ""
    ) -> Request:
        path, _, asked = target.partition("?")
        query = parse_qsl(asked, keep_blank_values=True) if asked else []
        return Request(verb, path, query, headers, body, client)

    @property
    def host(self) -> str:
        return f"http://{self.headers['host']}"

    def header_int(self, name: str) -> int | None:
        value = self.headers.get(name)
        return None if value is None else parsed_int(name, value)


@dataclass(frozen=True)
class Response:
    """An answer; `size` is said when the body is left out, or not known before it is read."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterable[bytes | memoryview] = ()
    size: int | None = None

    def head(self) -> bytes:
        size = sum(map(len, self.chunks)) if self.size is None else self.size
        lines = [f"HTTP/1.1 {self.status} {PHRASES.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status not in {204, 304}:
            lines.append(f"Content-Length: {size}")
        return "\r\n".join([*lines, "", ""]).encode()


class _Connection(socketserver.StreamRequestHandler):
    """All requests of one connection, one after another."""

    rbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        if context := self.server.context:  # `stop` still ends the connection by the first of them
            self.request = context.wrap_socket(self.request.dup(), server_side=True)
        super().setup()

    def handle(self) -> None:
        try:
            while self._handle_one():
                pass
        except Reset:
            self._reset()
        except (Interrupted, ConnectionError, TimeoutError):
            pass  # the client is gone; what it left half done is the handler's to keep or forget
        except ValueError:  # what came is not HTTP: bytes may be flipped on the way
            self.connection.sendall(Response(400, {"Connection": "close"}).head())

    def _handle_one(self) -> bool:
        request = self._request()
        if request is None:
            return False
        response = self.server.answer(request)
        for _ in request.body.pieces():
            pass  # what an early refusal left unread
        head = response.head()
        if response.size is None and sum(map(len, response.chunks)) < 1 << 16:
            self.connection.sendall(b"".join([head, *response.chunks]))
        else:
            self.connection.sendall(head)
            for chunk in response.chunks:
                self.connection.sendall(chunk)
        return request.headers.get("connection", "").lower() != "close"

    def _reset(self) -> None:
        at_once = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.rfile.close()  # it holds the socket as well
        self.connection.close()

    def finish(self) -> None:
        super().finish()
        if self.server.context:
            self.connection.close()

    def _request(self) -> Request | None:
        line = self.rfile.readline(1 << 16)
        if not line.endswith(b"\n"):
            return None
        verb, target, _ = line.decode("ascii").split()
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(1 << 16)).strip():
            name, _, value = line.partition(b":")
            headers[name.decode("ascii").lower()] = _text(value.strip())
        if headers.get("expect", "").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = Body(self.rfile, headers)
        return Request.parsed(verb, target, headers, body, self.client_address[0])


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


class Server(socketserver.ThreadingTCPServer):
    """Serves from `start` to `stop`, which also ends the connections that are open."""

    allow_reuse_address = True
    request_queue_size = 256

    def __init__(
        self,
        port: int,
        answer: Callable[[Request], Response],
        address: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__((address, port), _Connection)
        self.answer = answer
        self.context = context
        self.port: int = self.server_address[1]
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._lock:
            workers = list(self._open.values())
            for connection in self._open:
                with contextlib.suppress(OSError):  # its client was quicker
                    connection.shutdown(socket.SHUT_RDWR)
        for worker in workers:
            worker.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        worker = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        with self._lock:
            self._open[request] = worker
        worker.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # the client is gone, even in the handshake
            super().handle_error(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            del self._open[request]
            super().shutdown_request(request)
