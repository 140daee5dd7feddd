"""Servers inside the rig's namespaces, from this process: their sockets were opened there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.rig.gcs.server import Server

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator

    from tests.rig.gcs.server import Request, Response


@contextlib.contextmanager
def serving(
    listener: socket.socket,
    answer: Callable[[Request], Response],
    context: ssl.SSLContext | None = None,
) -> Iterator[None]:
    """Answer on a socket, for as long as the block."""
    server = Server(0, answer, context=context)
    server.socket.close()
    server.socket = listener
    server.start()
    try:
        yield
    finally:
        server.stop()
