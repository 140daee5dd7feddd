"""What a store does not have yet, on this node's disk: it outlives a kill of the runtime.

A disk that takes nothing more must not stop a training from printing, so what does not fit there
is held in memory, and is then lost if the runtime is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from llmcloud.runtime import layout

if TYPE_CHECKING:
    from pathlib import Path

MARKER = "stream"  # the file that says which stream a folder belongs to
HELD_BYTES_MAX = 64 << 20


class Spool:
    """The newest segments of one stream. Not thread-safe."""

    def __init__(self, folder: Path, stream: str) -> None:
        self._folder = folder
        self._on_disk: dict[int, int] = {}  # sizes
        self._held: dict[int, bytearray] = {}
        self.lost_bytes = 0
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MARKER).write_text(stream)

    @property
    def seqs(self) -> list[int]:
        """Return the numbers of the segments that are here."""
        return sorted({*self._on_disk, *self._held})

    def append(self, seq: int, records: bytes) -> None:
        """Add whole records to a segment; all of them, or none."""
        if seq in self._held or not self._write(seq, records):
            self._hold(seq, records)

    def size(self, seq: int) -> int:
        """Return how many bytes a segment has."""
        return self._on_disk.get(seq, 0) + len(self._held.get(seq, b""))

    def read(self, seq: int) -> bytes:
        """Return what a segment has."""
        size = self._on_disk.get(seq, 0)
        on_disk = self._path(seq).read_bytes()[:size] if size else b""
        return on_disk + self._held.get(seq, b"")

    def drop(self, seq: int) -> None:
        """Forget a segment: the store has it whole."""
        if self._on_disk.pop(seq, 0):
            self._path(seq).unlink(missing_ok=True)
        self._held.pop(seq, None)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, seq: int, records: bytes) -> bool:
        """Write to the segment's file; what a full disk took of it is undone."""
        path, size = self._path(seq), self._on_disk.get(seq, 0)
        try:
            with path.open("ab", buffering=0) as file:
                written = file.write(records)
        except OSError:
            return False
        if written == len(records):
            self._on_disk[seq] = size + written
            return True
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        return False

    def _hold(self, seq: int, records: bytes) -> None:
        if sum(map(len, self._held.values())) + len(records) > HELD_BYTES_MAX:
            self.lost_bytes += len(records)
        else:
            self._held.setdefault(seq, bytearray()).extend(records)

    def _path(self, seq: int) -> Path:
        return self._folder / f"{seq:0{layout.SEQ_DIGITS}d}"
