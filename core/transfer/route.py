"""The way from a source to a target, and what all who move items on it share."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from llmcloud.core.transfer.errors import FATAL
from llmcloud.core.transfer.meter import Meter, RateLimit
from llmcloud.core.transfer.pool import Pool
from llmcloud.core.transfer.retry import tried
from llmcloud.runtime.errors import Failure, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmcloud.core.transfer.sides import Item, Source, Target

# Many threads for small items, whose time goes into waiting; few for what fills memory.
SMALL, LARGE = 0, 1
THREADS = (16, 6)
LARGE_AT_ONCE = 4

Done = TypeVar("Done")


@dataclass(frozen=True, kw_only=True)
class Events:
    """Who is told of each item, from any thread, one at a time."""

    moved: Callable[[Item], None] | None = None
    left_out: Callable[[str, str], None] = lambda *_: None
    failed: Callable[[str, str], None] = lambda *_: None


@dataclass
class Route:
    """A source, a target, and the threads between them; `failed` says by name what did not pass."""

    source: Source
    target: Target
    meter: Meter
    rate: RateLimit = field(default_factory=RateLimit)
    events: Events = field(default_factory=Events)
    failed: dict[str, Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pool = Pool(*THREADS, few=(self.target.at_once, LARGE_AT_ONCE))
        self.open_ends: set[contextlib.ExitStack] = set()  # of what is moved in parts
        self._lock = threading.Lock()

    def tried(self, request: Callable[[], Done]) -> Done:
        """Make a request, again while that may help."""
        return tried(self.pool, request)

    def wait_turn(self, size: int) -> None:
        """Wait until the limit of the rate lets so many bytes pass."""
        self.rate.take(size, self.pool.stopped)

    def is_equal(self, item: Item, there: Item) -> bool:
        """Tell whether what is there has the digest of an item."""
        try:
            kept = self.tried(lambda: self.target.crc32c(there))
        except NotFound:  # it was removed meanwhile
            return False
        return kept is not None and kept == self.tried(lambda: self.source.crc32c(item))

    @contextlib.contextmanager
    def noting(self, item: Item) -> Iterator[None]:
        """Note what fails in the block as the item's failure, unless it meets every item alike."""
        try:
            yield
        except FATAL:
            raise
        except Failure as failure:
            self.note(item.name, failure)
        except OSError as error:
            self.note(item.name, Failure(error.strerror or str(error)))

    def note(self, name: str, failure: Failure) -> None:
        """Remember that an item could not be moved."""
        with self._lock:
            self.failed[name] = failure
            self.events.failed(name, failure.what)

    def tell(self, item: Item, size: int) -> None:
        """Count an item that was moved, with as many of its bytes as are not counted yet."""
        self.meter.add(size, 1)
        if self.events.moved:
            with self._lock:
                self.events.moved(item)
