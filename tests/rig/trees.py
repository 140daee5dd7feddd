"""Folders of files for the tests of transfers, and who notes what was moved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmcloud.core.sync import Options, Summary, sync
from llmcloud.core.transfer.route import Events

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llmcloud.core.transfer.sides import Source, Target


# Keys that every store holds, and most of them as a file's name.
ODD_KEYS = (
    *("a b", " a", "a ", "ünïcödé/日本語/🦙", "e\u0301", "100%", "%2e%2e", "%41", "a+b", "a?b#c"),
    *("a&b=c", "a\\b", "a:b", "-rf", "~", "$HOME", "'\"`", "*", "[a]", "...", "..a", "x.llmcloud"),
    *(".hidden", "a/.llmcloud/b", "COMPLETE", "é" * 127, "🦙" * 60, "0/" * 60 + "a"),
    "/".join(["k" * 255] * 4),
)


def plant(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files below a folder, which is made."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Return all files below a folder by name, also what is hidden or half there."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@dataclass
class Moved:
    """What one sync did, as its events told it; `summary` only if it came to its end."""

    names: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    summary: Summary = field(default_factory=lambda: Summary(0, 0, 0))

    def events(self) -> Events:
        return Events(
            moved=lambda item: self.names.append(item.name),
            left_out=lambda name, _: self.left_out.append(name),
            failed=self.failed.__setitem__,
        )


def moved(source: Source, target: Target, **options: Any) -> Moved:
    """Run a sync; the names of what was moved are sorted."""
    found = Moved()
    found.summary = sync(source, target, Options(events=found.events(), **options))
    found.names.sort()
    return found
