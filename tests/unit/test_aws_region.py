"""Where an S3 bucket lies, as S3 tells anyone who asks."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import TYPE_CHECKING

import pytest

from llmcloud.providers.aws.region import region_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def answering(status: int, region: str) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            if region:
                self.send_header("x-amz-bucket-region", region)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = TCPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/bucket"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [200, 301, 403])
def test_a_bucket_tells_its_region_whatever_else_it_answers(status: int) -> None:
    with answering(status, "eu-west-1") as url:
        assert region_of(url) == "eu-west-1"


def test_no_region_is_known_of_a_bucket_that_is_not_there() -> None:
    with answering(404, "") as url:
        assert region_of(url) is None


def test_no_region_is_known_where_nobody_answers() -> None:
    with answering(200, "") as url:
        pass
    assert region_of(url) is None
