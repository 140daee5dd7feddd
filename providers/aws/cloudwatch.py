"""What the containers of a training job printed, from CloudWatch Logs: each line once, all of them.

A stream is a host's. Its pages may be empty in mid-stream: its end is the token that was sent. A
token is good for 24 hours; then reading begins again at the time of the last line, and what was
seen of that time is passed over. SageMaker sends a stream's lines in the order of their time.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmcloud.core.errors import UsageError
from llmcloud.providers.aws.errors import code_of, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GROUP = "/aws/sagemaker/TrainingJobs"
NOT_YET = "ResourceNotFoundException"  # the group or stream appears when something is printed
EXPIRED = "InvalidParameterException"  # a token is all in our requests that can be wrong
GRACE_S = 5.0  # for lines that were on their way when a job ended
MARK_CHARACTERS = 16


@dataclass(frozen=True)
class Event:
    """A line of a host (counted from 0), printed at `ts_ms`."""

    host: int
    ts_ms: int
    line: str


@dataclass(frozen=True)
class Position:
    """How far a stream was read: `passed` lines after a token.

    `marks` are those of the lines at `ts_ms`, the time of the last one: what to pass over where
    there is no token, or an expired one, and reading begins at that time.
    """

    token: str = ""
    passed: int = 0
    ts_ms: int = 0
    marks: tuple[str, ...] = ()

    def after(self, ts_ms: int, mark: str) -> Position:
        """Return the position after one more line."""
        marks = (*self.marks, mark) if ts_ms == self.ts_ms else (mark,)
        return replace(self, passed=self.passed + 1, ts_ms=ts_ms, marks=marks)

    def seen(self) -> Counter[tuple[int, str]]:
        """Return the lines to pass over, by time and mark."""
        return Counter((self.ts_ms, mark) for mark in self.marks)


class JobLog:
    """Reads what is new of a training job's log, each time it is asked.

    `cursor` is what another reader of the same job returned: where to go on.
    """

    def __init__(self, logs: Any, training_job: str, cursor: str = "") -> None:
        self._logs, self._job = logs, training_job
        self._at = _parse(cursor)

    def poll(self) -> Iterator[Event]:
        """Yield the lines since the last call, those of all hosts in the order of their time."""
        with translated(f"log group {GROUP}"):
            streams = [self._new(stream) for stream in self._streams()]
            for event, stream, position in heapq.merge(*streams, key=lambda each: each[0].ts_ms):
                self._at[stream] = position
                yield event

    def drain(self, wait: Callable[[float], None]) -> Iterator[Event]:
        """Yield what is left of a job that has ended, what comes late included."""
        yield from self.poll()
        wait(GRACE_S)
        yield from self.poll()

    def cursor(self) -> str:
        """Return where the last line that was yielded ended, in all streams: opaque, resumable."""
        said = {name: vars(position) for name, position in self._at.items()}
        return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")

    def _streams(self) -> list[str]:
        from botocore.exceptions import ClientError

        pages = self._logs.get_paginator("describe_log_streams")
        asked = {"logGroupName": GROUP, "logStreamNamePrefix": f"{self._job}/"}
        try:
            return [
                each["logStreamName"]
                for page in pages.paginate(**asked)
                for each in page["logStreams"]
            ]
        except ClientError as error:
            if code_of(error) != NOT_YET:
                raise
            return []

    def _new(self, stream: str) -> Iterator[tuple[Event, str, Position]]:
        """Yield what is new of a stream, with the position after it."""
        at, host = self._at.get(stream, Position()), _host(stream)
        skip, seen = (at.passed, Counter[tuple[int, str]]()) if at.token else (0, at.seen())
        while True:
            page = self._page(stream, at)
            if page is None:
                if not at.token:
                    return
                skip, seen, at = 0, at.seen(), replace(at, token="", passed=0)
                continue
            for found in page["events"]:
                if skip:
                    skip -= 1
                    continue
                ts_ms, mark = found["timestamp"], _mark(found)
                if seen[ts_ms, mark]:
                    seen[ts_ms, mark] -= 1
                    at = replace(at, passed=at.passed + 1)
                    continue
                at = at.after(ts_ms, mark)
                yield Event(host, ts_ms, found["message"]), stream, at
            token = page["nextForwardToken"]
            if token == at.token:
                return
            at = replace(at, token=token, passed=skip)
            if not any(seen.values()):  # else some of what comes was taken before
                self._at[stream] = at  # all that came before was yielded, and taken

    def _page(self, stream: str, at: Position) -> dict[str, Any] | None:
        """Return the page at a position; None when its token has expired, or nothing is there."""
        from botocore.exceptions import ClientError

        asked: dict[str, Any] = {"logGroupName": GROUP, "logStreamName": stream}
        if at.token:
            asked["nextToken"] = at.token
        elif at.ts_ms:
            asked["startTime"] = at.ts_ms
        try:
            page: dict[str, Any] = self._logs.get_log_events(**asked, startFromHead=True)
        except ClientError as error:
            if code_of(error) == NOT_YET or (at.token and code_of(error) == EXPIRED):
                return None
            raise
        return page


def _host(stream: str) -> int:
    """Return the host of a stream, which is called JOB/algo-NUMBER-TIME."""
    words = stream.rpartition("/")[2].split("-")
    return int(words[1]) - 1 if len(words) > 1 and words[1].isdecimal() else 0


def _mark(found: dict[str, Any]) -> str:
    said = f"{found.get('ingestionTime')} {found['message']}"
    return hashlib.sha256(said.encode()).hexdigest()[:MARK_CHARACTERS]


def _parse(cursor: str) -> dict[str, Position]:
    if not cursor:
        return {}
    try:
        said = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return {
            str(name): Position(
                str(each["token"]),
                int(each["passed"]),
                int(each["ts_ms"]),
                tuple(map(str, each["marks"])),
            )
            for name, each in said.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            "That is no cursor.", fix="Take it from where the last lines ended."
        ) from error
