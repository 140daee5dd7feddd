"""A service that dies in the middle of a transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmcloud.core.sync import sync
from llmcloud.core.transfer import retry
from llmcloud.core.transfer.errors import NoAnswer, PartlyFailed
from llmcloud.core.transfer.folder import FolderTarget
from llmcloud.core.transfer.sides import Item, Reader, Source
from llmcloud.runtime.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Dying(Source):
    """Items of which those named are never answered for."""

    url = "s3://dying"

    def __init__(self, count: int, dead: range) -> None:
        self.count, self.dead, self.asked = count, dead, 0

    def items(self) -> Iterator[Item]:
        for number in range(self.count):
            yield Item(f"{number:04d}", 0, 1.0)

    def open(self, item: Item) -> Reader:
        self.asked += 1
        if int(item.name) in self.dead:
            raise Unavailable("Nobody answers.", where=self.url)
        return Empty()

    def crc32c(self, item: Item) -> int | None:
        return None


class Empty(Reader):
    def chunks(self, start: int, size: int) -> Iterator[bytes]:
        yield b""

    def check(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACKOFF_S", 0.001)
    monkeypatch.setattr(retry, "BACKOFF_MAX_S", 0.001)


def test_it_ends_the_transfer_before_every_item_was_tried(tmp_path: Path) -> None:
    source = Dying(5_000, range(5_000))
    with pytest.raises(NoAnswer) as caught:
        sync(source, FolderTarget(tmp_path))
    assert "not sent twice" in caught.value.fix
    assert source.asked < 5_000


def test_some_items_that_always_fail_do_not_end_it(tmp_path: Path) -> None:
    with pytest.raises(PartlyFailed) as caught:
        sync(Dying(500, range(0, 500, 100)), FolderTarget(tmp_path))
    assert len(caught.value.failed) == 5
    assert len(list(tmp_path.iterdir())) == 495
