"""The code folder as one archive, packed while it is sent, and named by what is in it.

The name is known before anything is packed, and is the same whoever packs where, and with which
zstd. The order of the files, their two modes and no times or owners make the tar the same, too.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core.digests import digests
from llmcloud.core.errors import Problem, SpecError
from llmcloud.core.ignore import walk
from llmcloud.core.transfer.errors import changed
from llmcloud.runtime.bundle import FOLDER
from llmcloud.runtime.digests import READ_BYTES, file_mark, link_mark, tree_digest
from llmcloud.runtime.errors import Failure, NotFound, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from llmcloud.core.ignore import WalkEntry

LEVEL = 3  # of zstd: 300 MB/s on one core; two would take 60 MB more
CHUNK_BYTES = 1 << 20
EXECUTABLE = 0o111
FASTEST = 1  # of deflate: it is done at each submit
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
MB = 10**6
MAIN = b"""import sys
from llmcloud.runtime.bundle import open_libraries
open_libraries(sys.path[0])
from llmcloud.runtime.node import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Member:
    """A file or link as it travels; `sha256` is empty for a link."""

    path: Path
    header: bytes
    size: int
    sha256: str = ""

    @property
    def padding(self) -> int:
        """Return how many bytes follow it in a tar."""
        return -self.size % tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Archive:
    """A code folder as it will travel: `digest` is of its tree; `warnings` tells what stays."""

    members: tuple[Member, ...]
    digest: str
    warnings: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Return the size of all files."""
        return sum(member.size for member in self.members)

    @property
    def packed_bytes_max(self) -> int:
        """Return how large the archive can be at most: what can't be compressed grows a little."""
        size = sum(len(each.header) + each.size + each.padding for each in self.members)
        return size + size // 128 + 4096

    def packed(self, tell: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
        """Yield the archive in pieces; `tell` gets the size of what was read of the files.

        Failure when a file is not (any more) what the digest says.
        """
        import zstandard

        chunker = zstandard.ZstdCompressor(LEVEL).chunker(chunk_size=CHUNK_BYTES)
        for member in self.members:
            yield from chunker.compress(member.header)
            if member.sha256:
                for data in _read(member):
                    yield from chunker.compress(data)
                    tell(len(data))
            yield from chunker.compress(bytes(member.padding))
        yield from chunker.compress(bytes(2 * tarfile.BLOCKSIZE))
        yield from chunker.finish()  # type: ignore[no-untyped-call]


def look(folder: Path, exclude: Sequence[str], max_bytes: int) -> Archive:
    """Look at a folder and return the archive that it will travel as.

    Raises SpecError when the folder is missing, holds more than `max_bytes`, or has files that
    can't be read: a job without them would fail later, on a machine that costs.
    """
    try:
        entries = list(walk(folder, exclude))
    except (NotFound, PermissionDenied) as failure:
        raise _refused(
            folder, failure.what.rstrip("."), "Paths are relative to the job file"
        ) from failure
    _check_size(folder, entries, max_bytes)
    travelling, warnings = _sorted_out(folder, entries)
    found = digests(entry for entry in travelling if not entry.is_link)
    members, marks = [], {}
    for entry in travelling:
        if entry.is_link:
            target = os.readlink(entry.path)  # noqa: PTH115 - a Path would change what it says
            marks[entry.name] = link_mark(target)
            members.append(_link(entry, target))
        else:
            sha256 = found[entry.name].sha256
            marks[entry.name] = file_mark(sha256, is_executable=_is_executable(entry))
            members.append(_file(entry, sha256))
    return Archive(tuple(members), tree_digest(marks), tuple(warnings))


def pack_runtime(target: Path, libraries: Iterable[tuple[str, bytes]] = ()) -> str:
    """Write the node's runtime as a zip that Python runs, and return its digest.

    `libraries` are names and contents of what the node shall be able to import beside it.
    """
    root = Path(__file__).resolve().parent.parent / "runtime"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
        _write(bundle, "__main__.py", MAIN)
        _write(bundle, "llmcloud/__init__.py", b"")
        for path in sorted(root.rglob("*.py")):
            name = "llmcloud/runtime/" + path.relative_to(root).as_posix()
            _write(bundle, name, path.read_bytes())
        for name, data in libraries:
            info = zipfile.ZipInfo(FOLDER + name, EPOCH)
            bundle.writestr(info, data, zipfile.ZIP_DEFLATED, FASTEST)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def _read(member: Member) -> Iterator[bytes]:
    """Yield a file's bytes, the size that it had and no more; Failure when it has changed."""
    digest, left = hashlib.sha256(), member.size
    try:
        with member.path.open("rb", buffering=0) as file:
            while left and (data := file.read(min(left, READ_BYTES))):
                digest.update(data)
                left -= len(data)
                yield data
            if left or file.read(1) or digest.hexdigest() != member.sha256:
                raise changed(member.path)
    except OSError as error:
        raise Failure(
            f"A file can't be read (any more): {error.strerror or error}.",
            where=str(member.path),
            fix="Submit again.",
        ) from error


def _check_size(folder: Path, entries: list[WalkEntry], max_bytes: int) -> None:
    total = sum(entry.stat.st_size for entry in entries)
    if total <= max_bytes:
        return
    sizes: Counter[str] = Counter()
    for entry in entries:
        sizes[entry.name.partition("/")[0]] += entry.stat.st_size
    largest = ", ".join(f"{name} ({size / MB:,.0f} MB)" for name, size in sizes.most_common(3))
    raise _refused(
        folder,
        f"{folder} holds {total / MB:,.0f} MB, the limit is {max_bytes / MB:,.0f} MB; "
        f"most of it is {largest}",
        "Name what need not travel in .llmcloudignore or code.exclude, bring data with data:, "
        "or raise code.max_size",
    )


def _sorted_out(folder: Path, entries: list[WalkEntry]) -> tuple[list[WalkEntry], list[str]]:
    unreadable = [entry.name for entry in entries if entry.is_unreadable]
    travelling = [entry for entry in entries if not entry.problem]
    odd = [entry for entry in entries if entry.problem]
    if unreadable:
        raise _refused(
            folder,
            f"{len(unreadable)} files in {folder} can't be read: {', '.join(unreadable[:5])}",
            "chmod u+r them, or name them in .llmcloudignore or code.exclude",
        )
    return travelling, [f"{entry.name} does not travel: {entry.problem}." for entry in odd]


def _link(entry: WalkEntry, target: str) -> Member:
    info = tarfile.TarInfo(entry.name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return Member(entry.path, _header(info), 0)


def _file(entry: WalkEntry, sha256: str) -> Member:
    info = tarfile.TarInfo(entry.name)
    info.mode = 0o755 if _is_executable(entry) else 0o644
    info.size = entry.stat.st_size
    return Member(entry.path, _header(info), info.size, sha256)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _is_executable(entry: WalkEntry) -> bool:
    return bool(entry.stat.st_mode & EXECUTABLE)


def _write(bundle: zipfile.ZipFile, name: str, data: bytes) -> None:
    bundle.writestr(zipfile.ZipInfo(name, EPOCH), data)


def _refused(folder: Path, message: str, hint: str) -> SpecError:
    return SpecError(str(folder), [Problem("code.path", message, hint=hint)])
