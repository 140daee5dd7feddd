"""What the shipper brings to the store, when, and what stands there after any failure."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints import Shipper, newest_valid, restore
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.store import FileStore

JOB = "job-1"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Rig:
    """A store, a checkpoint folder, a shipper and its clock."""

    def __init__(self, root: Path, store: FileStore | None = None, **options: object) -> None:
        self.store = store or FileStore(root / "store")
        self.store.create()
        self.folder = root / "work" / "checkpoints"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clock = Clock()
        self.warnings: list[str] = []
        settings = {"interval_s": 0.0, **options}
        self.shipper = Shipper(
            self.store,
            JOB,
            self.folder,
            clock=self.clock,
            sleep=self.clock.sleep,
            warn=self.warnings.append,
            **settings,  # type: ignore[arg-type]
        )
        self.shipper.poll()

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
        return sorted(manifest.step for manifest in manifests.complete(self.store, JOB))

    def restored(self, root: Path) -> dict[str, bytes]:
        restore(self.store, JOB, root / "elsewhere")
        return contents(root / "elsewhere")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def safetensors(value: int, size: int = 64) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes([value]) * size


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_folder_is_shipped_once_it_is_quiet(rig: Rig, tmp_path: Path) -> None:
    """And comes back under its own names."""
    rig.write("checkpoint-100/model.safetensors", safetensors(1))
    assert rig.poll() == []
    rig.write("checkpoint-100/trainer_state.json", b'{"global_step": 100}')
    assert rig.poll() == rig.poll() == []
    assert rig.poll() == [100]
    assert rig.settle() == []
    assert rig.restored(tmp_path) == contents(rig.folder)
    found = newest_valid(rig.store, JOB)
    assert found
    assert (found.step, found.size_bytes) == (100, len(safetensors(1)) + 20)
    assert rig.store.get(layout.checkpoint(JOB, 100) + "checkpoint-100/trainer_state.json")
