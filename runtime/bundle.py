"""The libraries in the runtime's archive: Python can't load compiled ones from a zip."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

FOLDER = "libraries/"


def open_libraries(archive: str) -> None:
    """Unpack what an archive brings beside it, once, and let Python find it there."""
    path = Path(archive)
    if not path.is_file():  # it was unpacked by whoever started this
        return
    folder = path.with_suffix(".libraries")
    if not folder.exists():
        fresh = folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        with zipfile.ZipFile(path) as bundle:
            names = [name for name in bundle.namelist() if name.startswith(FOLDER)]
            bundle.extractall(fresh, names)
        if names:
            fresh.rename(folder)
    sys.path.insert(1, str(folder / FOLDER))
