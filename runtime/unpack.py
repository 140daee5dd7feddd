"""Unpack an archive so that no name in it leaves the folder."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

from llmcloud.runtime.digests import file_mark, link_mark, sha256_of
from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

EXECUTABLE = 0o111


def unpack(tar: tarfile.TarFile, folder: Path) -> dict[str, str]:
    """Unpack files, folders and links; return what stands for the files and links in a digest.

    InvalidRequest for what is unsafe. The files are read again: they are on the disk as that says.
    """
    marks = {}
    for member in tar:
        _extract(tar, member, folder)
        if member.isreg():
            sha256 = sha256_of(folder / member.name)
            marks[member.name] = file_mark(sha256, is_executable=bool(member.mode & EXECUTABLE))
        elif member.issym():
            marks[member.name] = link_mark(member.linkname)
    return marks


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Extract one member.

    tarfile's data filter came with Python 3.10.12 and 3.11.4; Debian 12 has 3.11.2.
    """
    is_odd = not (member.isreg() or member.isdir() or member.issym())
    if is_odd or member.name.startswith("/"):
        raise _unsafe(member)
    if not hasattr(tarfile, "data_filter"):
        _check(member, folder)
        if member.isdir():
            member.mode = 0o755  # or a read-only one could not be filled
        tar.extract(member, folder)
        return
    try:
        tar.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise _unsafe(member) from error


def _check(member: tarfile.TarInfo, folder: Path) -> None:
    path = folder / member.name
    link = path.parent / member.linkname
    if not all(each.resolve().is_relative_to(folder.resolve()) for each in (path, link)):
        raise _unsafe(member)


def _unsafe(member: tarfile.TarInfo) -> InvalidRequest:
    return InvalidRequest(f"The archive holds {member.name!r}, which is not safe to unpack.")
