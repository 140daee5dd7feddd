"""Room on the disk: asked for before a download, and missed during one."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core.transfer.errors import OutOfSpace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.core.transfer.sides import Item

MARGIN_BYTES = 1 << 20


def check_space(folder: str | Path, needed_bytes: int) -> None:
    """Raise OutOfSpace before a download that can't fit is begun."""
    path = Path(folder)
    there = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if needed_bytes + MARGIN_BYTES > free:
        raise _out_of_space(folder, f"{needed_bytes:,} bytes are needed, {free:,} are free")


@contextlib.contextmanager
def needing_space(folder: str | Path, item: Item) -> Iterator[None]:
    """Raise OutOfSpace for a disk that is full, or a quota used up, while an item is written."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _out_of_space(folder, f"{item.name} has {item.size:,} bytes") from error
        raise


def _out_of_space(folder: str | Path, detail: str) -> OutOfSpace:
    return OutOfSpace(
        f"There is not enough space on the disk: {detail}.",
        where=str(folder),
        fix="Free some space and run it again (what is here is kept), or choose another folder.",
    )
