"""A network that fails as it is told to: a proxy between a client and an emulator.

It forwards requests as they are, `Host` too, and counts what passes. A fault meets the requests
that its match describes. Bodies stream through; nothing waits for the whole of one.
"""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

CHUNK_BYTES = 1 << 16
BODILESS = {204, 304}
DRIP_BYTES = 16
DRIP_EVERY_S = 0.2
UNSENT_S = 30.0
FOREVER = 1 << 62


class Do(enum.Enum):
    """What a fault does; `at` counts bytes of the body."""

    RESET_REQUEST = enum.auto()  # after so many bytes, RST; the server gets these and no end
    FLIP_REQUEST = enum.auto()  # the byte at that offset
    HOLD_REQUEST = enum.auto()  # before that offset, until the client goes or the proxy lets go
    ANSWER = enum.auto()  # instead of the server, which gets nothing
    LOSE_ANSWER = enum.auto()  # the server has done it; the client gets RST
    SPOIL_ANSWER = enum.auto()  # the server has done it; the client gets `answer`
    RESET_ANSWER = enum.auto()
    CUT_ANSWER = enum.auto()  # an end of the connection as if all were well
    FLIP_ANSWER = enum.auto()
    HOLD_ANSWER = enum.auto()
    DRIP_ANSWER = enum.auto()  # from that offset on, some bytes now and then


@dataclass(frozen=True)
class Match:
    """Which requests: by method, by what path and query contain; not the first `skip` of them.

    `times` is how many, 0 is all.
    """

    method: str = ""
    path: str = ""
    query: str = ""
    skip: int = 0
    times: int = 1

    def takes(self, request: Request) -> bool:
        """Tell whether a request is one of these, whatever its turn."""
        return (
            self.method in {"", request.method}
            and self.path in request.path
            and self.query in request.query
        )


@dataclass(frozen=True)
class Answer:
    """What is said in the server's place."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def raw(self, request: Request) -> bytes:
        """Return it as it goes over the wire."""
        said = {"Content-Type": "application/xml", "Content-Length": str(len(self.body))}
        lines = [f"{name}: {value}" for name, value in (*said.items(), *self.headers)]
        head = "\r\n".join([f"HTTP/1.1 {self.status} Fault", *lines, "", ""]).encode()
        return head if request.method == "HEAD" else head + self.body


@dataclass(frozen=True)
class Fault:
    """What is done to which requests."""

    do: Do
    match: Match = Match()
    at: int = 0
    answer: Answer = Answer(500)


@dataclass
class Request:
    """One request that passed, or was stopped; `sent` and `received` are bytes of the bodies."""

    method: str
    path: str
    query: str
    sent: int = 0
    received: int = 0
    status: int = 0
    faults: tuple[Fault, ...] = ()

    def fault(self, *kinds: Do) -> Fault | None:
        """Return the fault of one of these kinds that it meets."""
        return next((each for each in self.faults if each.do in kinds), None)


class FaultProxy:
    """Listens on loopback while it is entered; `requests` holds what passed.

    `implied` names headers to add where another is: what an emulator needs and the vendor not.
    """

    def __init__(self, upstream: str, implied: Mapping[str, tuple[str, str]] | None = None) -> None:
        self._implied = implied or {}
        parts = urlsplit(upstream)
        assert parts.hostname
        assert parts.port
        self._upstream = (parts.hostname, parts.port)
        self._path = parts.path
        self._faults: dict[Fault, int] = {}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_over = threading.Event()
        self._held = threading.Semaphore(0)
        self._let_go = threading.Event()
        self.requests: list[Request] = []
        self.met = 0  # faults that happened, in all

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._let_go.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """Return what to use in place of the server's URL."""
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}{self._path}"

    def add(self, *faults: Fault) -> None:
        """Let these happen from now on."""
        with self._lock:
            self._faults.update(dict.fromkeys(faults, 0))

    def clear(self) -> None:
        """Let all go well, forget what passed, and let go of what was held."""
        with self._lock:
            self._faults.clear()
            self.requests = []
        self._let_go.set()
        self._let_go, self._held = threading.Event(), threading.Semaphore(0)

    def await_held(self, timeout_s: float = 60.0) -> None:
        """Wait until a request is held (one more, when called again)."""
        assert self._held.acquire(timeout=timeout_s), "no request was held"

    def seen(self, match: Match) -> list[Request]:
        """Return the requests that passed, by match; its turn does not count."""
        return [each for each in list(self.requests) if match.takes(each)]

    def sent_bytes(self, match: Match = Match()) -> int:
        """Return how many bytes of bodies clients sent."""
        return sum(each.sent for each in self.seen(match))

    def received_bytes(self, match: Match = Match()) -> int:
        """Return how many bytes of bodies clients were sent."""
        return sum(each.received for each in self.seen(match))

    def _accept(self) -> None:
        while not self._is_over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._kept(client) as socket_, contextlib.closing(_Server(self)) as server:
            reader = socket_.makefile("rb", CHUNK_BYTES)
            with reader, contextlib.suppress(OSError, _Over):
                while self._pass_on(_Client(socket_, reader), server):
                    pass

    def _pass_on(self, client: _Client, server: _Server) -> bool:
        """Handle one request; tells whether another may follow."""
        head = _Head.read(client.reader)
        if head is None:
            return False
        request = self._enter(head)
        head.fields += [more for name, more in self._implied.items() if head.value(name)]
        if head.value("expect"):
            client.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault := request.fault(Do.ANSWER):
            for piece in head.body(client.reader):
                request.sent += len(piece)
            request.status = fault.answer.status
            client.socket.sendall(fault.answer.raw(request))
            return True
        server.connect()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it answers early
            server.send(head.raw({"expect"}))
            _copy(head, self._changed_request(head, request, client, server), server.send)
        return self._answer(request, client, server) and head.value("connection") != "close"

    def _answer(self, request: Request, client: _Client, server: _Server) -> bool:
        head = _Head.read(server.reader)
        if head is None:
            _reset(client.socket)
            return False
        request.status = int(head.first.split()[1])
        if request.method == "HEAD" or request.status in BODILESS:
            head.is_bodiless = True
        if fault := request.fault(Do.LOSE_ANSWER, Do.SPOIL_ANSWER):
            for _ in head.body(server.reader):
                pass
            if fault.do is Do.SPOIL_ANSWER:
                client.socket.sendall(fault.answer.raw(request))
                return True
            _reset(client.socket)
            return False
        client.socket.sendall(head.raw())
        _copy(head, self._changed_answer(head, request, client, server), client.socket.sendall)
        return not head.is_endless

    def _enter(self, head: _Head) -> Request:
        method, target, _ = head.first.split(" ", 2)
        path, _, query = target.partition("?")
        request = Request(method, unquote(path), query)
        with self._lock:
            met = []
            for fault, count in self._faults.items():
                match = fault.match
                if match.takes(request):
                    self._faults[fault] = count + 1
                    if match.skip <= count < match.skip + (match.times or FOREVER):
                        met.append(fault)
            request.faults = tuple(met)
            self.met += len(met)
            self.requests.append(request)
        return request

    def _changed_request(
        self, head: _Head, request: Request, client: _Client, server: _Server
    ) -> Iterator[bytes]:
        """Yield the pieces of a request's body, as the faults would have it."""
        fault = request.fault(Do.RESET_REQUEST, Do.FLIP_REQUEST, Do.HOLD_REQUEST)
        for piece, is_there in _split(head.body(client.reader), fault):
            if is_there and fault:
                if fault.do is Do.RESET_REQUEST:
                    server.close()
                    _reset(client.socket)
                    raise _Over
                if fault.do is Do.HOLD_REQUEST:
                    self._hold(client.socket)
            request.sent += len(piece)
            yield _flipped(piece) if is_there and fault and fault.do is Do.FLIP_REQUEST else piece

    def _changed_answer(
        self, head: _Head, request: Request, client: _Client, server: _Server
    ) -> Iterator[bytes]:
        fault = request.fault(
            Do.RESET_ANSWER, Do.CUT_ANSWER, Do.FLIP_ANSWER, Do.HOLD_ANSWER, Do.DRIP_ANSWER
        )
        is_dripping = False
        for piece, is_there in _split(head.body(server.reader), fault):
            if is_there and fault:
                if fault.do in {Do.RESET_ANSWER, Do.CUT_ANSWER}:
                    if fault.do is Do.RESET_ANSWER:
                        _reset(client.socket)
                    raise _Over
                if fault.do is Do.HOLD_ANSWER:
                    self._hold(client.socket)
                is_dripping = fault.do is Do.DRIP_ANSWER
            flips = is_there and fault and fault.do is Do.FLIP_ANSWER
            for part in _pieces(piece, DRIP_BYTES if is_dripping else CHUNK_BYTES):
                if is_dripping and self._is_over.wait(DRIP_EVERY_S):
                    raise _Over
                request.received += len(part)
                yield _flipped(part) if flips else part
                flips = False

    def _hold(self, client: socket.socket) -> None:
        """Wait until the client hangs up, or until nothing is held any more."""
        let_go = self._let_go
        hangs_up = select.poll()
        hangs_up.register(client, select.POLLRDHUP)
        if not hangs_up.poll(0):  # one that went long ago is nobody's to wait for
            self._held.release()
        while not let_go.is_set():
            if hangs_up.poll(20):
                raise _Over
        if self._is_over.is_set():
            raise _Over

    @contextlib.contextmanager
    def _kept(self, each: socket.socket) -> Iterator[socket.socket]:
        """Close a socket at the end of the block, or with the proxy."""
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(each)
        try:
            with each:
                yield each
        finally:
            with self._lock:
                self._open.discard(each)


def xml(code: str, *, is_azure: bool = False) -> bytes:
    """Return the body of an error, as S3 and GCS write it, or Azure."""
    more = "" if is_azure else "<Resource>/</Resource><RequestId>1</RequestId>"
    text = f"<Error><Code>{code}</Code><Message>A fault.</Message>{more}</Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


class _Over(Exception):
    """A connection has come to its end."""


@dataclass
class _Client:
    socket: socket.socket
    reader: BinaryIO


class _Server:
    """The connection to the server that a client's connection has, and keeps."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._socket: socket.socket | None = None
        self._open = contextlib.ExitStack()

    def connect(self) -> None:
        """Connect, unless the last connection is still good."""
        if self._socket and not select.select([self._socket], [], [], 0)[0]:
            return
        self.close()
        made = socket.create_connection(self._proxy._upstream, UNSENT_S)
        self._socket = self._open.enter_context(self._proxy._kept(made))
        self.reader = self._open.enter_context(made.makefile("rb", CHUNK_BYTES))

    def send(self, data: bytes) -> None:
        assert self._socket
        self._socket.sendall(data)

    def close(self) -> None:
        self._open.close()
        self._socket = None


@dataclass
class _Head:
    """The first line and the fields of a message, and how its body ends."""

    first: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    is_bodiless: bool = False

    @classmethod
    def read(cls, reader: BinaryIO) -> _Head | None:
        """Read one; None at the end of the connection."""
        try:
            first = reader.readline().decode("latin-1").rstrip("\r\n")
        except (ConnectionResetError, TimeoutError):
            return None
        if not first:
            return None
        found = cls(first)
        while line := reader.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            found.fields.append((name, value.strip()))
        if found.first.startswith("HTTP/1.1 100"):
            return cls.read(reader)
        return found

    def value(self, name: str) -> str:
        return next((v.lower() for n, v in self.fields if n.lower() == name), "")

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.value("transfer-encoding")

    @property
    def is_endless(self) -> bool:
        """Tell whether the body ends with the connection."""
        is_answer = self.first.startswith("HTTP/")
        is_told = self.is_bodiless or self.is_chunked or self.value("content-length")
        return is_answer and (not is_told or self.value("connection") == "close")

    def raw(self, without: set[str] = frozenset()) -> bytes:  # type: ignore[assignment]
        lines = [f"{name}: {value}" for name, value in self.fields if name.lower() not in without]
        return "\r\n".join([self.first, *lines, "", ""]).encode("latin-1")

    def body(self, reader: BinaryIO) -> Iterator[bytes]:
        """Yield the body's bytes in pieces, without the marks of chunks."""
        if self.is_bodiless:
            return
        if self.is_chunked:
            yield from _chunks(reader)
        elif length := self.value("content-length"):
            yield from _exactly(reader, int(length))
        elif self.is_endless:
            while piece := reader.read1(CHUNK_BYTES):  # type: ignore[attr-defined]
                yield piece


def _chunks(reader: BinaryIO) -> Iterator[bytes]:
    while size := int(reader.readline().split(b";")[0], 16):
        yield from _exactly(reader, size)
        reader.readline()
    while reader.readline().strip():  # trailers
        pass


def _exactly(reader: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = reader.read1(min(size, CHUNK_BYTES))  # type: ignore[attr-defined]
        if not piece:
            raise _Over
        size -= len(piece)
        yield piece


def _copy(head: _Head, pieces: Iterator[bytes], send: Callable[[bytes], None]) -> None:
    for piece in pieces:
        send(b"%x\r\n%b\r\n" % (len(piece), piece) if head.is_chunked else piece)
    if head.is_chunked and not head.is_bodiless:
        send(b"0\r\n\r\n")


def _split(pieces: Iterator[bytes], fault: Fault | None) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces such that one begins at the fault's offset, and is marked."""
    left = fault.at if fault else FOREVER
    for piece in pieces:
        if 0 <= left < len(piece):
            if left:
                yield piece[:left], False
            yield piece[left:], True
        else:
            yield piece, False
        left -= len(piece)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def _flipped(piece: bytes) -> bytes:
    return bytes([piece[0] ^ 0xFF]) + piece[1:]


def _reset(client: socket.socket) -> None:
    """Have the coming close send RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
