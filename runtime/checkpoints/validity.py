"""Tells a whole file from a truncated or torn one, by its format."""

from __future__ import annotations

import json
import struct
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ZIPPED = frozenset({".npz", ".keras"})
MAYBE_ZIPPED = frozenset({".pt", ".pth", ".ckpt", ".bin"})
NEVER_EMPTY = ZIPPED | MAYBE_ZIPPED | {
    ".safetensors", ".json", ".npy", ".pkl", ".h5", ".msgpack", ".distcp", ".gguf"
}  # fmt: skip
SAFETENSORS_HEADER_BYTES = 100_000_000  # the format's own limit
INDEX_SUFFIX = ".index.json"


def check(path: Path) -> str | None:
    """Return why a file or a folder of files is no whole checkpoint, or None when it is one."""
    if not path.is_dir():
        return check_files([path])
    return check_files(sorted(each for each in path.rglob("*") if each.is_file()))


def check_files(paths: Sequence[Path]) -> str | None:
    """Return the first reason why these files are no whole checkpoint, or None."""
    if not paths:
        return "it holds no files"
    try:
        if not any(path.stat().st_size for path in paths):
            return f"{paths[0].name} is empty"
        for path in paths:
            if reason := _check_file(path):
                return f"{path.name} {reason}"
    except OSError as error:
        return f"{error.filename} can't be read: {error.strerror}"
    return None


def proves_itself(path: Path) -> bool:
    """Tell whether a file's format shows by itself that it was written to the end."""
    if path.suffix in {".safetensors", ".json"}:
        return True
    try:
        return _has_zip_magic(path)
    except OSError:
        return False


def _check_file(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if not path.stat().st_size:
        # Frameworks leave empty marker files (`commit_success.txt`) beside the weights.
        return "is empty" if suffix in NEVER_EMPTY else None
    if suffix == ".safetensors":
        return _check_safetensors(path)
    if suffix in ZIPPED or (suffix in MAYBE_ZIPPED and _has_zip_magic(path)):
        return _check_zip(path)
    if suffix in MAYBE_ZIPPED and not _has_data(path):
        return "begins with zeros: it was torn"
    if path.name.endswith(INDEX_SUFFIX):
        return _check_index(path)
    if suffix == ".json":
        return _check_json(path)
    return None


def _has_zip_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def _has_data(path: Path) -> bool:
    with path.open("rb") as file:
        return any(file.read(512))


def _check_safetensors(path: Path) -> str | None:
    """Compare the header's offsets with the size: https://github.com/huggingface/safetensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            return "is truncated in its header"
        (length,) = struct.unpack("<Q", prefix)
        if length > min(size - 8, SAFETENSORS_HEADER_BYTES):
            return "is truncated in its header"
        raw = file.read(length)
    try:
        ends = [
            tensor["data_offsets"][1]
            for name, tensor in json.loads(raw).items()
            if name != "__metadata__"
        ]
        needed = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return "has a header that can't be read"
    return None if size == needed else f"has {size} bytes where its header tells {needed}"


def _check_zip(path: Path) -> str | None:
    """Read the directory at the end, and see that what it lists fits in front of it."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            for member in archive.infolist():
                end = member.header_offset + member.compress_size
                if end > archive.start_dir:
                    return f"ends before its member {member.filename}"
                raw.seek(member.header_offset)
                if raw.read(4) != b"PK\3\4":
                    return f"is torn at its member {member.filename}"
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error):
        return "is truncated: its zip directory is missing"
    return None


def _check_json(path: Path) -> str | None:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return "is no whole JSON document"
    return None


def _check_index(path: Path) -> str | None:
    try:
        shards = set(json.loads(path.read_bytes())["weight_map"].values())
        missing = sorted(name for name in shards if not (path.parent / name).is_file())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "is no whole index of shards"
    return f"lists {missing[0]}, which is missing" if missing else None
