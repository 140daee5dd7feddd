"""What differs goes from a source to a target: each item whole or not at all.

- An item is unchanged when it has the size of what is there, and its times say that this came of
  it: an object is not older than the file's last change (of its bytes or its inode, so that
  `cp -p` and `mv` are noticed); a file has the time of what it came from. Where times leave a
  doubt, large items are compared by digest; with `checksum` all are, by digest only.
- Objects have no folders: an empty folder does not travel. Nor do permissions; a pulled file gets
  the object's time.
- A symlink within the source travels as the file it points at, a link to a folder not at all.
- Nothing is removed from the target but by `delete`, and then last, and only if all went well.
- One item's failure does not stop the others; all are named at the end, in a PartlyFailed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmcloud.core.errors import UsageError
from llmcloud.core.ignore import UNREADABLE, ignoring
from llmcloud.core.overlap import source_in_target, target_in_source
from llmcloud.core.transfer.errors import PartlyFailed
from llmcloud.core.transfer.folder import FolderTarget
from llmcloud.core.transfer.meter import Meter, RateLimit
from llmcloud.core.transfer.mover import Mover
from llmcloud.core.transfer.route import Events
from llmcloud.runtime.bucket_api import PART_BYTES
from llmcloud.runtime.errors import Failure, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmcloud.core.transfer.sides import Item, Source, Target


@dataclass(frozen=True)
class Options:
    """How to transfer; `may_remove` is asked before `delete` removes what the source lacks."""

    checksum: bool = False
    dry_run: bool = False
    delete: bool = False
    may_remove: Callable[[Sequence[str]], bool] = lambda _: True
    bytes_per_s: float = 0
    events: Events = field(default_factory=Events)
    meter: Meter = field(default_factory=Meter)


@dataclass(frozen=True)
class Summary:
    """What was done (or would be); `left_out` says why some items can't travel, by name."""

    transferred: int
    size_bytes: int
    unchanged: int
    removed: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)


def sync(source: Source, target: Target, options: Options | None = None) -> Summary:
    """Bring what differs to the target; NotFound without a source, PartlyFailed at the end."""
    options = options or Options()
    if options.delete and source_in_target(source, target):
        raise UsageError(
            "The source lies in the target: --delete would remove it.",
            where=source.url,
            fix="Leave out --delete, or choose another target.",
        )
    meter = options.meter
    work = _Work(Mover(source, target, meter, RateLimit(options.bytes_per_s), options.events))
    with contextlib.nullcontext() if options.dry_run else work.mover.running():
        for item in work.sorted_out(target, source.items(), delete=options.delete):
            _consider(work, item, options)
        meter.is_listed = True
    done = meter.files_total if options.dry_run else meter.files_done
    if failed := work.mover.failed:
        raise PartlyFailed(failed, done, source.url, dry_run=options.dry_run)
    removed = _removed(work, source, options)
    return Summary(done, meter.bytes_total, meter.unchanged, removed, work.left_out)


@dataclass
class _Work:
    mover: Mover
    left_out: dict[str, str] = field(default_factory=dict)
    extras: list[str] = field(default_factory=list)
    seen: int = 0

    def sorted_out(
        self, target: Target, items: Iterator[Item], *, delete: bool
    ) -> Iterator[tuple[Item, Item | None]]:
        """Yield what may travel, each with what is there; note the rest."""
        own = target_in_source(self.mover.source, target)
        for item, there in target.beside(items, extras=delete):
            if item is None:
                assert there  # noqa: S101 - one of the two is there
                self.extras.append(there.name)
                continue
            self.seen += 1
            if own and item.name.startswith(own):  # or each run would go one folder deeper
                self._leave_out(own, "it is the target")
            elif item.problem.startswith(UNREADABLE):  # data that the user wants is missing
                self.mover.note(item.name, Failure(item.problem))
            elif problem := target.refuse(item):
                self.mover.note(item.name, InvalidRequest(problem))
            elif item.problem:
                self._leave_out(item.name, item.problem)
            else:
                yield item, there

    def _leave_out(self, name: str, reason: str) -> None:
        if name not in self.left_out:  # a folder that is left out is met with each file of it
            self.left_out[name] = reason
            self.mover.events.left_out(name, reason)


def _consider(work: _Work, pair: tuple[Item, Item | None], options: Options) -> None:
    item, there = pair
    mover = work.mover
    doubt = None
    if there and there.size == item.size:
        same = None if options.checksum else mover.target.is_same(item, there)
        if same:
            mover.meter.unchanged += 1
            return
        if same is None or item.size > PART_BYTES:
            doubt = there
    if not options.dry_run:
        mover.add(item, doubt)
    elif doubt and mover.target.crc32c(doubt) == mover.source.crc32c(item):
        mover.meter.unchanged += 1
    else:
        mover.meter.plan(item.size)
        if options.events.moved:
            options.events.moved(item)


def _removed(work: _Work, source: Source, options: Options) -> tuple[str, ...]:
    ours = _ignored_in(work.mover.target)
    names = tuple(name for name in work.extras if not (source.hides(name) or ours(name)))
    if not names:
        return names
    if not work.seen:
        raise UsageError(
            "The source is empty: --delete would remove all that is in the target.",
            where=source.url,
            fix="Check the source; to remove all, use: llmcloud data remove",
        )
    if options.dry_run:
        return names
    if not options.may_remove(names):
        raise UsageError("Nothing was removed; all else was done.")
    work.mover.target.remove(names)
    return names


def _ignored_in(target: Target) -> Callable[[str], bool]:
    """Return what tells which names never travelled from this very folder: they are no extras."""
    if isinstance(target, FolderTarget):
        return ignoring(Path(target.root))
    return lambda _: False
