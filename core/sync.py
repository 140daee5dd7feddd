"""Files and folders to a store's prefix and back: what differs, whole or not at all.

- A file is unchanged when its size and its time are those of the last push or pull; with
  `checksum` when its digest is. What differs is replaced, on both ways.
- Nothing is removed on the other side but by `remove`.
- Objects have no folders: an empty folder is not pushed.
- A symlink within the source is pushed as what it points at, a link to a folder not at all.
- One file's failure does not stop the others; all are named at the end, in a PartlyFailed.
"""

from __future__ import annotations

import functools
import glob
import json
import os
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core import transfer
from llmcloud.core.errors import UsageError
from llmcloud.core.ignore import UNREADABLE, walk
from llmcloud.core.transfer import Download, Meter, Progress
from llmcloud.runtime import documents, layout
from llmcloud.runtime.checkpoints.upload import digest_of
from llmcloud.runtime.errors import Conflict, Failure, NotFound, StoreFull, StoreGone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmcloud.runtime.store import Entry, ObjectStore

NAMED_FAILURES = 20


@dataclass(frozen=True)
class Options:
    """How to transfer; `exclude` holds patterns as in .gitignore."""

    exclude: Sequence[str] = ()
    checksum: bool = False
    dry_run: bool = False
    progress: Callable[[Progress], None] = lambda _: None


@dataclass(frozen=True)
class Summary:
    """What was transferred (or would be); `left_out` maps names to why they can't travel."""

    transferred: tuple[str, ...]
    unchanged: int
    size_bytes: int
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What is remembered of one object."""

    size: int
    mtime_ns: int
    sha256: str


class PartlyFailed(Failure):
    """Some files could not be transferred; the others were."""

    def __init__(self, failed: dict[str, str], done: int, where: str) -> None:
        self.failed = failed
        named = [f"{name}: {reason}" for name, reason in sorted(failed.items())[:NAMED_FAILURES]]
        if len(failed) > NAMED_FAILURES:
            named.append(f"… and {len(failed) - NAMED_FAILURES} more")
        noun = "file" if len(failed) == 1 else "files"
        super().__init__(
            f"{len(failed)} {noun} failed, {done} were transferred.\n" + "\n".join(named),
            where=where,
            fix="Run the command again: what was transferred is not sent twice.",
        )


def push(
    store: ObjectStore, prefix: str, source: str | Path, options: Options = Options()
) -> Summary:
    """Bring a file, a folder or what a glob matches under a prefix (which ends in `/`).

    A file gets its own name there; a folder's files their names in it; a glob's those from its
    first folder without a wildcard. Raises NotFound without a source, PartlyFailed at the end.
    """
    files, left_out = _sources(source, options.exclude)
    known = _read_index(store, prefix)
    there = {entry.key: entry.size for entry in store.objects(prefix)}
    work = _Work({name: reason for name, reason in left_out.items() if _is_error(reason)})
    sizes: dict[str, int] = {}
    for name, path in files.items():
        try:
            size = path.stat().st_size
            if there.get(prefix + name) != size or not _is_unchanged(
                path, known.get(name), options
            ):
                sizes[name] = size
        except OSError as failure:  # it went since we looked
            _note(work, name, failure)
    todo = tuple(sizes)
    if not options.dry_run:
        meter = Meter(sum(sizes.values()), len(todo), options.progress)
        _change_index(store, prefix, dict.fromkeys(sizes))  # or a kill would leave wrong digests
        try:
            transfer.in_parallel(
                functools.partial(_send, store, prefix + name, (name, files[name]), meter, work)
                for name in todo
            )
        finally:
            _change_index(store, prefix, work.sent)
    if work.failed and not options.dry_run:
        raise PartlyFailed(work.failed, len(todo) - len(work.failed.keys() & sizes), str(source))
    return Summary(todo, len(files) - len(todo), sum(sizes.values()), left_out)


def pull(store: ObjectStore, prefix: str, target: Path, options: Options = Options()) -> Summary:
    """Bring what lies under a prefix (which ends in `/`) into a folder, each file whole or not.

    A file that differs is replaced. Digests are checked where a push kept them. Names that would
    leave the folder are refused. Raises NotFound when there is nothing, PartlyFailed at the end.
    """
    known = _read_index(store, prefix)
    entries = {entry.key[len(prefix) :]: entry for entry in store.objects(prefix)}
    if not entries:
        raise NotFound("There is nothing to pull.", where=f"{store.url}, {prefix}")
    work = _Work({})
    todo: dict[str, Download] = {}
    for name, entry in entries.items():
        try:
            path = transfer.inside(target, name)
        except UsageError as failure:
            work.failed[name] = failure.what
            continue
        if not _is_here(path, entry, known.get(name), options):
            todo[name] = _download(entry, path, known.get(name))
    times = {name: _mtime_ns(entries[name], known.get(name)) for name in todo}
    size_bytes = sum(each.size for each in todo.values())
    if not options.dry_run:
        transfer.check_space(target, sum(each.missing_bytes for each in todo.values()))
        meter = Meter(size_bytes, len(todo), options.progress)
        transfer.in_parallel(
            functools.partial(_receive, store, each, (name, times[name]), meter, work)
            for name, each in todo.items()
        )
    if work.failed and not options.dry_run:
        raise PartlyFailed(work.failed, len(todo) - len(work.failed.keys() & todo), str(target))
    return Summary(tuple(todo), len(entries) - len(todo), size_bytes, work.failed)


def remove(store: ObjectStore, prefix: str, *, dry_run: bool = False) -> Summary:
    """Remove all under a prefix (which ends in `/`); NotFound when there is nothing."""
    entries = list(store.objects(prefix))
    if not entries:
        raise NotFound("There is nothing to remove.", where=f"{store.url}, {prefix}")
    if not dry_run:
        for entry in entries:
            store.delete(entry.key)
        store.delete(layout.digests(prefix))
    names = tuple(entry.key[len(prefix) :] for entry in entries)
    return Summary(names, 0, sum(entry.size for entry in entries))


@dataclass
class _Work:
    """What the threads of one transfer write to."""

    failed: dict[str, str]
    sent: dict[str, Known | None] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def _send(
    store: ObjectStore,
    key: str,
    file: tuple[str, Path],
    meter: Meter,
    work: _Work,
    _stopped: threading.Event,
) -> None:
    name, path = file
    try:
        before = path.stat()
        digest = store.put_file(key, path)
        after = path.stat()
    except (StoreFull, StoreGone):
        raise
    except (Failure, OSError) as failure:
        _note(work, name, failure)
        return
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        _note(work, name, Failure("It changed while it was read."))
        return
    with work.lock:
        work.sent[name] = Known(after.st_size, after.st_mtime_ns, digest)
    meter.add(after.st_size, 1)


def _receive(
    store: ObjectStore,
    wanted: Download,
    place: tuple[str, int],
    meter: Meter,
    work: _Work,
    stopped: threading.Event,
) -> None:
    name, mtime_ns = place
    try:
        if wanted.target.is_symlink():  # replaced, never written through
            wanted.target.unlink()
        transfer.download(store, wanted, meter, stopped)
        os.utime(wanted.target, ns=(mtime_ns, mtime_ns))
    except (transfer.OutOfSpace, StoreGone):
        raise
    except (Failure, OSError) as failure:
        _note(work, name, failure)


def _note(work: _Work, name: str, failure: Failure | OSError) -> None:
    reason = failure.what if isinstance(failure, Failure) else failure.strerror
    with work.lock:
        work.failed[name] = reason or str(failure)


def _sources(source: str | Path, exclude: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the files to push by their names there, and why others can't be."""
    path = Path(source)
    if path.is_file():
        return {path.name: path}, {}
    if path.is_dir():
        return _in_folder(path, exclude)
    if not glob.has_magic(str(source)):
        raise NotFound(f"There is no file or folder {source}.")
    return _matching(str(source), exclude)


def _in_folder(folder: Path, exclude: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    files, left_out = {}, {}
    for entry in walk(folder, exclude):
        if entry.problem:
            left_out[entry.name] = entry.problem
        elif entry.path.is_dir():
            left_out[entry.name] = "it is a link to a folder"
        else:
            files[entry.name] = entry.path
    return files, left_out


def _matching(pattern: str, exclude: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:first])
    matched = {Path(each) for each in glob.glob(pattern, recursive=True, include_hidden=False)}  # noqa: PTH207 - Path.glob knows no absolute pattern
    if not matched:
        raise NotFound(f"Nothing matches {pattern}.")
    files, left_out = _in_folder(base, exclude)

    def is_matched(name: str) -> bool:
        return not matched.isdisjoint([base / name, *(base / name).parents])

    return (
        {name: path for name, path in files.items() if is_matched(name)},
        {name: reason for name, reason in left_out.items() if is_matched(name)},
    )


def _is_error(reason: str) -> bool:
    """Tell what the user must hear of as a failure: data that could not be read."""
    return reason.startswith(UNREADABLE)


def _is_unchanged(path: Path, known: Known | None, options: Options) -> bool:
    if known is None:
        return False
    if options.checksum:
        return digest_of(path) == known.sha256
    return (path.stat().st_size, path.stat().st_mtime_ns) == (known.size, known.mtime_ns)


def _is_here(path: Path, entry: Entry, known: Known | None, options: Options) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != entry.size:
        return False
    if options.checksum:
        return known is not None and digest_of(path) == known.sha256
    return path.stat().st_mtime_ns == _mtime_ns(entry, known)


def _mtime_ns(entry: Entry, known: Known | None) -> int:
    """Return the time that a pulled file gets: the source's, else the object's."""
    return known.mtime_ns if known else int(entry.modified_at * 1e9)


def _download(entry: Entry, path: Path, known: Known | None) -> Download:
    sha256 = known.sha256 if known and known.size == entry.size else None
    return Download(entry.key, path, entry.size, sha256)


def _read_index(store: ObjectStore, prefix: str) -> dict[str, Known]:
    try:
        return _parse_index(store.get(layout.digests(prefix)).data)
    except NotFound:
        return {}


def _change_index(store: ObjectStore, prefix: str, changes: dict[str, Known | None]) -> None:
    """Set, or with None forget, what is known of some names; others may push beside us."""
    key = layout.digests(prefix)
    while True:
        try:
            blob = store.get(key)
        except NotFound:
            blob = None
        known = {**(_parse_index(blob.data) if blob else {}), **changes}
        document = {name: asdict(each) for name, each in sorted(known.items()) if each}
        data = json.dumps(document).encode()
        try:
            if blob:
                store.put(key, data, if_match=blob.etag)
            else:
                store.put(key, data, if_absent=True)
        except (Conflict, NotFound):
            continue
        return


def _parse_index(data: bytes) -> dict[str, Known]:
    try:
        found = json.loads(data).items()
        return {name: Known(**documents.known(Known, each)) for name, each in found}
    except (ValueError, TypeError, AttributeError):
        return {}
