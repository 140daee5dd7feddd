"""Answers read straight from the socket: what is taken, and what is left to the longer way."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
from tests.rig.emulators import certificates

from llmcloud.core.connection import CHUNK_BYTES, HEAD_BYTES, MOST_IN_VAIN, Host, Waits
from llmcloud.runtime.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITS = Waits(5, 5, 5)
LARGE = bytes(range(256)) * (CHUNK_BYTES // 128)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.issue(tmp_path_factory.mktemp("tls"))


class Server:
    """Says what it is told to, an answer a request; an empty one ends the connection."""

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.answers, self._tls = list(answers), tls
        self.asked: list[bytes] = []
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                self.connections += 1
                with (
                    contextlib.suppress(ConnectionError, ssl.SSLError),
                    self._wrapped(connected) as wrapped,
                ):
                    self._answer(wrapped)

    def _wrapped(self, connected: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connected, server_side=True) if self._tls else connected

    def _answer(self, connected: socket.socket) -> None:
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                data = connected.recv(1 << 16)
                if not data:
                    return
                received += data
            head, _, received = received.partition(b"\r\n\r\n")
            self.asked.append(head)
            answer = self.answers.pop(0)
            if not answer:
                return
            connected.sendall(answer)
            if b"Connection: close" in answer:
                return


@contextlib.contextmanager
def serving(*answers: bytes, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(*answers, tls=tls)
    try:
        yield server
    finally:
        server.close()


def said(body: bytes, status: str = "200 OK", more: str = "", size: int | None = None) -> bytes:
    length = len(body) if size is None else size
    head = f'HTTP/1.1 {status}\r\nETag: "1"\r\nContent-Length: {length}\r\n{more}\r\n'
    return head.encode() + body


@pytest.mark.parametrize("body", [b"", b"small", LARGE], ids=["none", "small", "large"])
def test_a_body_comes_whole_over_one_connection(body: bytes) -> None:
    with serving(said(body), said(body)) as server:
        host = Host(server.url, None, WAITS)
        for _ in range(2):
            answer = host.ask("GET", "/a", {})
            assert answer
            assert answer.headers["etag"] == '"1"'
            assert b"".join(answer.chunks) == body
        assert server.connections == 1


def test_a_range_is_hoped_for_where_one_is_asked_for() -> None:
    with serving(said(b"all of it"), said(b"some", "206 Partial Content")) as server:
        host = Host(server.url, None, WAITS)
        assert host.ask("GET", "/a", {"range": "bytes=0-3"}) is None
        answer = host.ask("GET", "/a", {"range": "bytes=0-3"})
        assert answer
        assert b"".join(answer.chunks) == b"some"


def test_a_head_has_no_body() -> None:
    with serving(said(b"", size=100), said(b"next")) as server:
        host = Host(server.url, None, WAITS)
        answer = host.ask("HEAD", "/a", {})
        assert answer
        assert answer.headers["content-length"] == "100"
        assert not b"".join(answer.chunks)
        assert host.ask("GET", "/a", {})
        assert server.connections == 1


def test_headers_of_one_name_are_one() -> None:
    """…as Google sends a line for each digest."""
    with serving(said(b"", more="X-Goog-Hash: crc32c=a==\r\nx-goog-hash: md5=b==\r\n")) as server:
        answer = Host(server.url, None, WAITS).ask("GET", "/a", {})
        assert answer
        assert answer.headers["x-goog-hash"] == "crc32c=a==, md5=b=="


def test_a_body_is_sent_behind_its_size() -> None:
    with serving(said(b"")) as server:
        assert Host(server.url, None, WAITS).ask("PUT", "/a", {"x-a": "b"}, b"body")
        host = server.url.removeprefix("http://").encode()
        wanted = [b"PUT /a HTTP/1.1", b"host: " + host, b"x-a: b", b"content-length: 4"]
        assert server.asked[0].split(b"\r\n") == wanted


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
def test_a_connection_that_the_host_closes_is_not_used_again(body: bytes) -> None:
    closed = said(body, more="Connection: close\r\n")
    with serving(closed, closed) as server:
        host = Host(server.url, None, WAITS)
        for _ in range(2):
            answer = host.ask("GET", "/a", {})
            assert answer
            assert b"".join(answer.chunks) == body
        assert server.connections == 2


def test_a_connection_that_died_meanwhile_is_made_anew() -> None:
    with serving(said(b"one"), b"", said(b"two")) as server:
        host = Host(server.url, None, WAITS)
        assert host.ask("GET", "/a", {})
        answer = host.ask("GET", "/a", {})
        assert answer
        assert b"".join(answer.chunks) == b"two"


@pytest.mark.parametrize(
    "answer",
    [
        said(b"<Error/>", "404 Not Found"),
        said(b"<Error/>", "503 Slow Down"),
        said(b"", "301 Moved Permanently"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhtml",
        b'HTTP/1.1 200 OK\r\nETag: "1"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: much\r\n\r\n',
        b'HTTP/1.0 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n',
        said(b"longer than it says", size=6),
        said(b"", more="Content-Length: 0\r\n"),
        b"HTTP/1.1 200 OK\r\nETag: " + b"1" * HEAD_BYTES,
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
    ],
)
def test_what_is_not_the_plain_case_is_left_to_the_longer_way(answer: bytes) -> None:
    with serving(answer, said(b"next")) as server:
        host = Host(server.url, None, WAITS)
        assert host.ask("GET", "/a", {}) is None
        assert host.ask("GET", "/a", {})  # by a new connection
        assert server.connections == 2


def test_a_way_that_leads_nowhere_is_given_up() -> None:
    with serving(*[said(b"", "403 Forbidden")] * (MOST_IN_VAIN + 5)) as server:
        host = Host(server.url, None, WAITS)
        for _ in range(MOST_IN_VAIN + 3):
            assert host.ask("GET", "/a", {}) is None
        assert len(server.asked) == MOST_IN_VAIN


def test_nobody_there_is_left_to_the_longer_way() -> None:
    with serving() as server:
        pass
    assert Host(server.url, None, WAITS).ask("GET", "/a", {}) is None


def test_a_proxy_is_left_to_the_longer_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(said(b"")) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        assert Host("http://storage.example", None, WAITS).ask("GET", "/a", {}) is None
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert Host(server.url, None, WAITS).ask("GET", "/a", {})


def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one() -> None:
    cut = said(LARGE[:-1], size=len(LARGE), more="Connection: close\r\n")
    with serving(cut) as server:
        answer = Host(server.url, None, WAITS).ask("GET", "/a", {})
        assert answer
        with pytest.raises(Unavailable, match="broke off"):
            b"".join(answer.chunks)


@pytest.mark.parametrize("waits", [Waits(5, 0.05, 5), Waits(5, 5, 1e-6)], ids=["silent", "slow"])
def test_nothing_is_waited_for_forever(waits: Waits) -> None:
    with serving(said(LARGE[:-1], size=len(LARGE))) as server:
        answer = Host(server.url, None, waits).ask("GET", "/a", {})
        assert answer
        with pytest.raises(Unavailable, match="too long"):
            b"".join(answer.chunks)


def test_a_silence_before_the_answer_is_no_reason_to_ask_twice() -> None:
    with serving(b" ") as server, pytest.raises(Unavailable, match="in time"):
        Host(server.url, None, Waits(5, 0.05, 5)).ask("GET", "/a", {})


def test_a_name_that_would_add_a_header_is_refused() -> None:
    with serving(said(b"")) as server, pytest.raises(InvalidRequest):
        Host(server.url, None, WAITS).ask("GET", "/a", {"if-match": '"1"\r\nx-a: b'})
    assert not server.asked


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
def test_bytes_come_over_tls_from_whom_the_authority_vouches_for(
    issued: certificates.Certificates, body: bytes
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(issued.server, issued.key)
    with serving(said(body), said(body), tls=tls) as server:
        assert Host(server.url, None, WAITS).ask("GET", "/a", {}) is None
        by_another_name = server.url.replace("127.0.0.1", "localhost")
        authority = issued.authority.read_bytes()
        assert Host(by_another_name, authority, WAITS).ask("GET", "/a", {}) is None
        assert not server.asked
        host = Host(server.url, authority, WAITS)
        for _ in range(2):
            answer = host.ask("GET", "/a", {})
            assert answer
            assert b"".join(answer.chunks) == body
