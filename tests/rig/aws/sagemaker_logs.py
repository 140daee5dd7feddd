"""What containers print, into CloudWatch Logs: a group for all jobs, a stream a container."""

from __future__ import annotations

import threading
import time
from typing import IO, TYPE_CHECKING

from moto.backends import get_backend
from tests.rig.aws.account import ACCOUNT

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

GROUP = "/aws/sagemaker/TrainingJobs"
LINE_BYTES = 256 << 10  # the most of an event, with its overhead
KEPT_LINES = 20


class Pump(threading.Thread):
    """Brings a container's lines into a stream, which is there from its first line on.

    `last` holds the lines printed last. `lock` is held around moto.
    """

    def __init__(
        self, output: IO[bytes], stream: str, region: str, lock: AbstractContextManager[object]
    ) -> None:
        super().__init__(name=f"logs {stream}", daemon=True)
        self.last: list[str] = []
        self._output, self._stream, self._region, self._lock = output, stream, region, lock

    def run(self) -> None:
        with self._output:
            for line in iter(lambda: self._output.readline(LINE_BYTES), b""):
                text = line.rstrip(b"\n").decode(errors="replace")
                self.last = [*self.last, text][-KEPT_LINES:]
                self._put(text)

    def _put(self, text: str) -> None:
        event = {"timestamp": time.time_ns() // 1_000_000, "message": text}
        with self._lock:
            logs = get_backend("logs")[ACCOUNT][self._region]
            logs.ensure_log_group(GROUP)
            logs.ensure_log_stream(GROUP, self._stream)
            logs.put_log_events(GROUP, self._stream, [event])
