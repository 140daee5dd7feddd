"""What the tests of checkpoints share: a store that dies on demand, a rig, sample files."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import TYPE_CHECKING, Any

from llmcloud.runtime.checkpoints import Shipper, restore
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from pathlib import Path

JOB = "job-1"


class Killed(BaseException):
    """Stands for kill -9: nothing in the program may catch it."""


class DyingStore(FileStore):
    """Fails at its n-th operation, before doing it; or after, when the answer is what's lost."""

    def __init__(self, root: Path, failure: BaseException | None = None) -> None:
        super().__init__(root)
        self.operations = 0
        self.dies_at = -1
        self.does_it_first = False
        self.failure = failure or Killed()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in {"get", "read", "put", "put_file", "head", "objects", "folders", "delete"}:
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.operations += 1
            is_last = self.operations == self.dies_at
            if is_last and not self.does_it_first:
                raise self.failure
            try:
                return found(*args, **kwargs)
            finally:
                if is_last:
                    raise self.failure

        return counted


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Rig:
    """One node: a checkpoint folder, a shipper and its clock, over a store."""

    def __init__(
        self,
        root: Path,
        *,
        store: FileStore | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        self.root = root
        self.store = store or FileStore(root / "store")
        self.store.create()
        self.folder = root / "work" / "checkpoints"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clock = clock or Clock()
        self.warnings: list[str] = []
        self.shipper = Shipper(
            self.store,
            JOB,
            self.folder,
            clock=self.clock,
            sleep=options.pop("sleep", self.clock.sleep),
            warn=self.warnings.append,
            **{"interval_s": 0.0, **options},
        )

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def poll(self, after_s: float = 1.0) -> list[int]:
        self.clock.now += after_s
        return self.shipper.poll()

    def settle(self) -> list[int]:
        """Poll until the quiet period is over."""
        return [step for _ in range(4) for step in self.poll()]

    def steps(self) -> list[int]:
        return complete_steps(self.store)

    def aside(self) -> dict[str, bytes]:
        return contents(self.folder.parent / ".checkpoints.set-aside")


def complete_steps(store: FileStore) -> list[int]:
    return sorted(manifest.step for manifest in manifests.complete(store, JOB))


def restored(store: FileStore, folder: Path) -> tuple[int | None, dict[str, bytes]]:
    return restore(store, JOB, folder), contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def safetensors(value: int, size: int = 64) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes([value]) * size


def zipped(value: int, size: int = 64) -> bytes:
    """Return what `torch.save` and `numpy.savez` write: a zip of stored members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), bytes([value]) * size)
        archive.writestr(zipfile.ZipInfo("archive/data/0"), bytes([value]) * size)
    return buffer.getvalue()


def state(step: int) -> bytes:
    return json.dumps({"global_step": step, "pad": "x" * 40}).encode()
