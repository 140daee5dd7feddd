"""Downloads that continue where they were cut off, several at a time.

A file grows under a hidden name beside its place and is renamed into it once its digest is right,
so that what is visible is whole; `kill -9` costs at most the range that was under way.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import queue
import shutil
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmcloud.core.errors import UsageError
from llmcloud.runtime.checkpoints.manifest import is_safe
from llmcloud.runtime.errors import Failure, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from llmcloud.runtime.store import ObjectStore

RANGE_BYTES = 8 << 20
THREADS = 4
MARGIN_BYTES = 1 << 20


class Damaged(Failure):
    """An object is not what its digest says."""


class OutOfSpace(Unavailable):
    """The disk that is downloaded to is full."""


class Stopped(Exception):
    """Another transfer failed, or the user interrupted."""


@dataclass(frozen=True)
class Progress:
    """How far a transfer is."""

    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int


@dataclass(frozen=True)
class Download:
    """One object and the file it becomes; without a digest only its size is checked."""

    key: str
    target: Path
    size: int
    sha256: str | None = None

    @property
    def partial(self) -> Path:
        """Return where the file grows; another content grows elsewhere."""
        mark = (self.sha256 or hashlib.sha256(self.key.encode()).hexdigest())[:16]
        return self.target.with_name(f".{self.target.name[:64]}.{mark}.part")

    @property
    def missing_bytes(self) -> int:
        """Return how much is still to be fetched."""
        try:
            return max(self.size - self.partial.stat().st_size, 0)
        except OSError:
            return self.size


@dataclass
class Meter:
    """Counts over all threads, and tells a callback."""

    bytes_total: int
    files_total: int
    report: Callable[[Progress], None] = lambda _: None
    bytes_done: int = 0
    files_done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size: int = 0, files: int = 0) -> None:
        """Count bytes and files that are done."""
        with self._lock:
            self.bytes_done += size
            self.files_done += files
            self.report(
                Progress(self.bytes_done, self.bytes_total, self.files_done, self.files_total)
            )


def inside(target: Path, name: str) -> Path:
    """Return the path of `name` in a folder; UsageError when it would leave it."""
    if not is_safe(name):
        raise UsageError(f"The name {name!r} would leave the folder.", where=str(target))
    path = target / name
    for parent in path.parents[: name.count("/")]:
        if parent.is_symlink():
            raise UsageError(
                f"{name} would be written through a symlink.",
                where=str(parent),
                fix="Remove the link, or choose another folder with --to.",
            )
    return path


def check_space(target: Path, needed_bytes: int) -> None:
    """Raise before a download that can't fit is begun."""
    there = next(each for each in (target, *target.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if needed_bytes + MARGIN_BYTES > free:
        raise _no_space(target, f"{needed_bytes:,} bytes are needed, {free:,} are free.")


def download(store: ObjectStore, wanted: Download, meter: Meter, stopped: threading.Event) -> None:
    """Fetch one object, continuing what an earlier try left; a wrong digest is tried once more."""
    for is_last in (False, True):
        try:
            _fetch(store, wanted, meter, stopped)
        except Damaged:
            if is_last:
                raise
            meter.add(-wanted.size)
        else:
            meter.add(files=1)
            return


def in_parallel(work: Iterable[Callable[[threading.Event], None]], threads: int = THREADS) -> None:
    """Run everything in daemon threads; the first failure stops the rest and is raised.

    Ctrl-C interrupts at once, which a pool of the standard library would not let it.
    """
    todo: queue.SimpleQueue[Callable[[threading.Event], None]] = queue.SimpleQueue()
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()
    for each in work:
        todo.put(each)
    workers = [
        threading.Thread(target=_drain, args=(todo, done, stopped), daemon=True)
        for _ in range(min(threads, todo.qsize()))
    ]
    for worker in workers:
        worker.start()
    failures: list[BaseException] = []
    try:
        failures.extend(failure for _ in workers if (failure := done.get()) is not None)
    finally:
        stopped.set()
    real = [each for each in failures if not isinstance(each, Stopped)]
    if real:
        raise real[0]


def _drain(
    todo: queue.SimpleQueue[Callable[[threading.Event], None]],
    done: queue.SimpleQueue[BaseException | None],
    stopped: threading.Event,
) -> None:
    try:
        while not stopped.is_set():
            todo.get_nowait()(stopped)
    except queue.Empty:
        done.put(None)
    except BaseException as failure:  # noqa: BLE001 - raised again by the caller's thread
        stopped.set()
        done.put(failure)
    else:
        done.put(None)


def _fetch(store: ObjectStore, wanted: Download, meter: Meter, stopped: threading.Event) -> None:
    wanted.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _opened(wanted.partial) as descriptor:
            digest = _continue(store, wanted, descriptor, (meter, stopped))
            os.fsync(descriptor)
            if os.fstat(descriptor).st_size != wanted.size or (
                wanted.sha256 and digest != wanted.sha256
            ):
                wanted.partial.unlink()
                raise Damaged(
                    f"What was fetched of {wanted.target.name} is not what was saved.",
                    where=f"{store.url}, {wanted.key}",
                    fix="Use another checkpoint or copy: the object is damaged in the store.",
                )
            wanted.partial.replace(wanted.target)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            needed = f"{wanted.missing_bytes:,} more bytes are needed for this file alone."
            raise _no_space(wanted.target, needed) from error
        raise Failure(
            f"The file can't be written: {error.strerror}.", where=str(wanted.target)
        ) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError("Another command is downloading this.", where=str(path)) from None
        yield descriptor
    finally:
        os.close(descriptor)


def _continue(
    store: ObjectStore, wanted: Download, descriptor: int, watch: tuple[Meter, threading.Event]
) -> str:
    """Hash what is there, append what is missing range by range, and return the digest."""
    meter, stopped = watch
    digest = hashlib.sha256()
    if os.fstat(descriptor).st_size > wanted.size or wanted.sha256 is None:
        os.ftruncate(descriptor, 0)  # without a digest nobody knows what an old part is of
    offset = 0
    while offset < wanted.size:
        if stopped.is_set():
            raise Stopped
        size = min(RANGE_BYTES, wanted.size - offset)
        chunk = os.pread(descriptor, size, offset)
        if not chunk:
            chunk = store.read(wanted.key, offset, size)
            if not chunk:
                break
            _write_whole(descriptor, chunk, offset)
        digest.update(chunk)
        offset += len(chunk)
        meter.add(len(chunk))
    return digest.hexdigest()


def _write_whole(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _no_space(target: Path, detail: str) -> OutOfSpace:
    return OutOfSpace(
        f"There is not enough space on the disk: {detail}",
        where=str(target),
        fix="Free some space, or choose another folder with --to.",
    )
