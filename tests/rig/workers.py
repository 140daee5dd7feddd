"""Other processes that use the same store, for the tests of what several of them do at once.

As a script it is such a process: it says `ready`, waits for a line, does its deed, and prints
what came of it. `start` and `Worker` are the test's end of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core.stores import open_store
from llmcloud.runtime import status
from llmcloud.runtime.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmcloud.runtime.store import ObjectStore


class Worker:
    """A process that waits to be told `go`; killed at the end of the `with` block."""

    def __init__(self, store: ObjectStore, deed: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, store.url, deed, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait_until_ready(self) -> None:
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> str:
        assert self._process.stdout
        answer = self._process.stdout.read()
        assert self._process.wait(60) == 0
        return answer.strip()

    def kill(self) -> None:
        """Kill -9, and see it gone."""
        self._process.kill()
        self._process.wait(60)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()


def results(workers: Iterable[Worker]) -> list[str]:
    """Let all workers go at the same moment and return what each printed."""
    workers = list(workers)
    try:
        for worker in workers:
            worker.wait_until_ready()
        for worker in workers:
            worker.go()
        return [worker.result() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()


def sealed(body: bytes) -> bytes:
    """Return bytes that tell whether they are whole."""
    return hashlib.sha256(body).digest() + body


def is_whole(data: bytes) -> bool:
    """Tell whether these are all the bytes that `sealed` returned, and no others."""
    return hashlib.sha256(data[32:]).digest() == data[:32]


def add_one(store: ObjectStore, key: str) -> None:
    """Increment a counter by compare-and-swap."""
    while True:
        blob = store.get(key)
        try:
            store.put(key, b"%d" % (int(blob.data) + 1), if_match=blob.etag)
        except Conflict:
            continue
        return


def create(store: ObjectStore, folder: str, times: str, mine: str) -> str:
    """Create objects unless they exist, and tell which ones were ours."""
    won = []
    for number in range(int(times)):
        with contextlib.suppress(Conflict):
            store.put(f"{folder}/{number}", mine.encode(), if_absent=True)
            won.append(f"{folder}/{number}")
    return " ".join(won)


def count(store: ObjectStore, key: str, times: str) -> str:
    """Add one many times."""
    for _ in range(int(times)):
        add_one(store, key)
    return "done"


def rewrite(store: ObjectStore, key: str) -> str:
    """Rewrite an object, with other bytes and another size each time, until killed."""
    for number in itertools.count():
        store.put(key, sealed(os.urandom(16) * (1000 + number * 7919 % 20_000)))
    raise AssertionError


def flicker(store: ObjectStore, key: str, times: str) -> str:
    """Write and delete an object again and again, and leave it there."""
    for _ in range(int(times)):
        store.put(key, b"x")
        store.delete(key)
    store.put(key, b"x")
    return "done"


def advance(store: ObjectStore, job: str, *points: str) -> str:
    """Bring a job to one `ATTEMPT:STATE` after another, in whatever order they come."""
    for point in points:
        attempt, _, state = point.partition(":")
        status.change(store, job, partial(replace, attempt=int(attempt), state=status.State(state)))
    return "done"


def main(url: str, deed: str, *arguments: str) -> None:
    """Do one deed when told to."""
    deeds = {each.__name__: each for each in (create, count, rewrite, flicker, advance)}
    store = open_store(url)
    print("ready", flush=True)
    sys.stdin.readline()
    print(deeds[deed](store, *arguments), flush=True)


if __name__ == "__main__":
    sys.path[:] = [each for each in sys.path if Path(each) != Path(__file__).parent]
    main(*sys.argv[1:])
