"""A wait for a condition: as short as it may be, with an end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")
LIVE = os.environ.get("LLMCLOUD_LIVE", "")  # a real cloud, which is slow, and counts requests
POLL_S = 2.0 if LIVE else 0.02
DEADLINE_S = 900.0 if LIVE else 90.0  # for anything at all; a slow machine is no failure


def eventually(
    condition: Callable[[], Found], what: str = "", deadline_s: float = DEADLINE_S
) -> Found:
    """Return what `condition` yields as soon as that is true."""
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        time.sleep(POLL_S)
    return found
