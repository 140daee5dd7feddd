"""An EC2 instance, by a metadata service that does not always answer in full."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from llmcloud.runtime.machines import aws
from llmcloud.runtime.machines.aws import Instance

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = b"10.0.0.7"


class Metadata(BaseHTTPRequestHandler):
    """Answers with the address of the instance; of the first `cut_off` answers, half."""

    cut_off = 0

    def do_PUT(self) -> None:
        self._answer(b"token")

    def do_GET(self) -> None:
        if Metadata.cut_off:
            Metadata.cut_off -= 1
            self._answer(ADDRESS[:4])
        else:
            self._answer(ADDRESS)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        whole = ADDRESS if self.command == "GET" else body
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(aws, "METADATA", f"http://127.0.0.1:{server.server_port}/latest/")
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield Instance("gpt-abcdef")
        server.shutdown()


def test_an_answer_that_is_cut_off_is_asked_for_again(instance: Instance) -> None:
    Metadata.cut_off = 2
    assert instance.host == ADDRESS.decode()


def test_a_notice_that_can_not_be_read_is_none_yet(instance: Instance) -> None:
    """It is looked for again in a moment: who watches must not die of it."""
    Metadata.cut_off = 1
    assert not instance.is_leaving()
    assert instance.is_leaving()
