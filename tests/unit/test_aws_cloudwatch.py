"""Logs of CloudWatch: whatever it does to pages and tokens, each line comes once, and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmcloud.core.errors import UsageError
from llmcloud.providers.aws.cloudwatch import GROUP, JobLog

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = "llmcloud-gpt-abcdef-1"


class CloudWatch:
    """The service as its documentation has it: pages are cut where `cuts` says, some are empty."""

    def __init__(self, cuts: list[int]) -> None:
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self._cuts, self._cut = cuts, 0
        self._tokens: dict[str, int] = {}
        self._number = 0

    def put(self, stream: str, ts_ms: int, line: str) -> None:
        events = self.streams.setdefault(f"{JOB}/{stream}", [])
        last = events[-1]["timestamp"] if events else 0
        made = {"timestamp": max(ts_ms, last), "ingestionTime": 7, "message": line}
        events.append(made)

    def expire(self) -> None:
        self._tokens.clear()

    def get_paginator(self, operation: str) -> CloudWatch:
        assert operation == "describe_log_streams"
        return self

    def paginate(self, **asked: str) -> Iterator[dict[str, Any]]:
        assert asked.pop("logGroupName") == GROUP
        if not self.streams:
            raise refused("ResourceNotFoundException", "DescribeLogStreams")
        for name in self.streams:
            yield {"logStreams": []}
            if name.startswith(asked["logStreamNamePrefix"]):
                yield {"logStreams": [{"logStreamName": name}]}

    def get_log_events(self, *, startFromHead: bool, **asked: Any) -> dict[str, Any]:  # noqa: N803
        assert asked["logGroupName"] == GROUP
        assert startFromHead
        events, token = self.streams[asked["logStreamName"]], asked.get("nextToken", "")
        if token:
            if token not in self._tokens:
                raise refused("InvalidParameterException", "GetLogEvents")
            start = self._tokens[token]
        else:
            later = (
                n for n, each in enumerate(events) if each["timestamp"] >= asked.get("startTime", 0)
            )
            start = next(later, len(events))
        if token and start == len(events):
            return {"events": [], "nextForwardToken": token}
        self._cut += 1
        size = self._cuts[self._cut % len(self._cuts)]
        page = events[start : start + size]
        self._number += 1
        after = f"f/{self._number}"
        self._tokens[after] = start + len(page)
        return {"events": page, "nextForwardToken": after}


def refused(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, operation)


SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any)
HOSTS = st.sampled_from(["algo-1-17", "algo-2-17", "algo-1-99"])
LINES = st.tuples(st.just("put"), HOSTS, st.integers(1, 4), st.sampled_from("ab"))
STEPS = st.lists(
    st.one_of(
        LINES,
        st.tuples(st.just("poll"), st.integers(0, 6)),
        st.tuples(st.just("expire")),
        st.tuples(st.just("resume")),
    ),
    max_size=40,
)


HOST, ANOTHER = "algo-1-17", "algo-2-17"
LEFT_AMONG_LINES_SEEN_BEFORE = [
    *[("put", HOST, 2, "a")] * 3,
    *[("poll", 0), ("expire",)],
    *[("put", HOST, 2, "a"), ("put", ANOTHER, 1, "a")],
    ("poll", 1),
]


@settings(max_examples=400)
@given(cuts=SIZES, steps=STEPS)
@example(cuts=[2], steps=LEFT_AMONG_LINES_SEEN_BEFORE)
def test_each_line_comes_once_and_in_order(cuts: list[int], steps: list[Any]) -> None:
    """A reader may be left in mid-page, tokens may expire, and another reader may go on."""
    service = CloudWatch(cuts)
    reader = JobLog(service, JOB)
    seen: dict[str, list[str]] = {}

    def read(most: int) -> None:
        for number, event in enumerate(reader.poll(), 1):
            seen.setdefault(event.line.partition(" ")[0], []).append(event.line)
            if number == most:
                return

    for number, step in enumerate(steps):
        if step[0] == "put":
            service.put(step[1], step[2], f"{step[1]} {step[3] if step[2] < 3 else number}")
        elif step[0] == "poll":
            read(step[1])
        elif step[0] == "expire":
            service.expire()
        else:
            reader = JobLog(service, JOB, reader.cursor())
    read(-1)
    assert seen == {
        name.rpartition("/")[2]: [each["message"] for each in events]
        for name, events in service.streams.items()
    }


def test_lines_of_several_hosts_are_in_the_order_of_their_time() -> None:
    service = CloudWatch([10])
    for ts_ms in (1, 3, 5):
        service.put("algo-1-17", ts_ms, str(ts_ms))
    for ts_ms in (2, 4):
        service.put("algo-2-17", ts_ms, str(ts_ms))
    found = list(JobLog(service, JOB).poll())
    assert [each.line for each in found] == ["1", "2", "3", "4", "5"]
    assert [each.host for each in found] == [0, 1, 0, 1, 0]


def test_a_job_that_has_printed_nothing_has_no_lines() -> None:
    assert list(JobLog(CloudWatch([1]), JOB).poll()) == []


def test_lines_that_come_after_the_end_are_drained() -> None:
    service = CloudWatch([1])
    service.put("algo-1-17", 1, "first")
    late = JobLog(service, JOB).drain(lambda _: service.put("algo-2-17", 2, "late"))
    assert [each.line for each in late] == ["first", "late"]


def test_another_jobs_streams_are_not_read() -> None:
    service = CloudWatch([1])
    service.streams[f"{JOB}2/algo-1-17"] = [
        {"timestamp": 1, "ingestionTime": 1, "message": "not ours"}
    ]
    assert list(JobLog(service, JOB).poll()) == []


@pytest.mark.parametrize("cursor", ["x", "e30x", "bnVsbA", "WzFd", "eyJhIjogMX0"])
def test_what_is_no_cursor_is_told(cursor: str) -> None:
    with pytest.raises(UsageError):
        JobLog(CloudWatch([1]), JOB, cursor)
