"""What a folder must give for a download: room on the disk, and leave to write to it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core.transfer.errors import OutOfSpace
from llmcloud.runtime.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.core.transfer.sides import Item

MARGIN_BYTES = 1 << 20


def check_space(folder: str | Path, needed_bytes: int) -> None:
    """Raise OutOfSpace before a download that can't fit is begun."""
    free = shutil.disk_usage(_what_is_there(folder)).free
    if needed_bytes + MARGIN_BYTES > free:
        raise _out_of_space(folder, f"{needed_bytes:,} bytes are needed, {free:,} are free")


@contextlib.contextmanager
def writing(folder: str | Path, item: Item) -> Iterator[None]:
    """Raise OutOfSpace or PermissionDenied while an item is written, if all others met the same.

    So does a disk that is full, a quota used up, or a folder that nothing can be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _out_of_space(folder, f"{item.name} has {item.size:,} bytes") from error
        refused = error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}
        if refused and not os.access(_what_is_there(folder), os.W_OK | os.X_OK):
            raise PermissionDenied(
                f"The folder can't be written to: {error.strerror}.",
                where=str(folder),
                fix="Choose another folder, or ask its owner to let you write to it.",
            ) from error
        raise


def _what_is_there(folder: str | Path) -> Path:
    """Return a folder, or the one that it would be made in."""
    path = Path(folder)
    both = (path, *path.absolute().parents)
    return next(each for each in both if os.path.exists(each))  # noqa: PTH110 - never raises


def _out_of_space(folder: str | Path, detail: str) -> OutOfSpace:
    return OutOfSpace(
        f"There is not enough space on the disk: {detail}.",
        where=str(folder),
        fix="Free some space and run it again (what is here is kept), or choose another folder.",
    )
