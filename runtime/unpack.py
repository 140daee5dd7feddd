"""Unpack an archive so that no name in it leaves the folder."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path


def unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack files, folders and links; InvalidRequest, or tarfile's own error, for what is unsafe.

    tarfile's data filter came with Python 3.10.12 and 3.11.4; Debian 12 has 3.11.2.
    """
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
        return
    for member in tar:
        _check(member, folder)
        if member.isdir():
            member.mode = 0o755  # or a read-only one could not be filled
        tar.extract(member, folder)


def _check(member: tarfile.TarInfo, folder: Path) -> None:
    path = folder / member.name
    link = path.parent / member.linkname
    inside = all(each.resolve().is_relative_to(folder.resolve()) for each in (path, link))
    if not inside or not (member.isreg() or member.isdir() or member.issym()):
        raise InvalidRequest(f"The archive holds {member.name!r}, which is not safe to unpack.")
