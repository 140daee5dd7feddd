"""The code folder as one archive: the same files give the same bytes, whoever packs them where."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from llmcloud.core.errors import Problem, SpecError
from llmcloud.core.ignore import walk
from llmcloud.runtime.errors import NotFound, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.core.ignore import WalkEntry

FAST = 1  # gzip's level: uploads are small, and people wait
EXECUTABLE = 0o111
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
MB = 10**6
MAIN = b"import sys\nfrom llmcloud.runtime.node import main\nsys.exit(main())\n"


@dataclass(frozen=True)
class Archive:
    """A packed code folder: `digest` is of its bytes; `warnings` tells what did not travel."""

    path: Path
    digest: str
    files: int
    size_bytes: int
    warnings: tuple[str, ...]


def pack(folder: Path, exclude: Sequence[str], max_bytes: int, target: Path) -> Archive:
    """Write the archive of a folder to `target`.

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
    with target.open("wb") as raw:
        hashing = _Hashing(raw)
        with (
            gzip.GzipFile("", "wb", FAST, cast("BinaryIO", hashing), mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for entry in travelling:
                _add(tar, entry)
    return Archive(
        target, hashing.digest.hexdigest(), len(travelling), hashing.size_bytes, tuple(warnings)
    )


def pack_runtime(target: Path) -> str:
    """Write the node's runtime as a zip that Python runs, and return its digest."""
    root = Path(__file__).resolve().parent.parent / "runtime"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
        _write(bundle, "__main__.py", MAIN)
        _write(bundle, "llmcloud/__init__.py", b"")
        for path in sorted(root.rglob("*.py")):
            name = "llmcloud/runtime/" + path.relative_to(root).as_posix()
            _write(bundle, name, path.read_bytes())
    return hashlib.sha256(target.read_bytes()).hexdigest()


class _Hashing(io.RawIOBase):
    """A file that knows the digest of what was written to it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.digest.update(data)
        self.size_bytes += len(data)
        return self._raw.write(data)


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


def _add(tar: tarfile.TarFile, entry: WalkEntry) -> None:
    info = tarfile.TarInfo(entry.name)
    if entry.is_link:
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(entry.path)  # noqa: PTH115
        tar.addfile(info)
        return
    info.mode = 0o755 if entry.stat.st_mode & EXECUTABLE else 0o644
    with entry.path.open("rb") as file:
        info.size = os.fstat(file.fileno()).st_size
        tar.addfile(info, file)


def _write(bundle: zipfile.ZipFile, name: str, data: bytes) -> None:
    bundle.writestr(zipfile.ZipInfo(name, EPOCH), data)


def _refused(folder: Path, message: str, hint: str) -> SpecError:
    return SpecError(str(folder), [Problem("code.path", message, hint=hint)])
