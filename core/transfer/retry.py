"""Requests that are made again while that may help."""

from __future__ import annotations

import gc
import random
import time
from typing import TYPE_CHECKING, TypeVar

from llmcloud.core.transfer.errors import FATAL, PASSING, Damaged, NoAnswer
from llmcloud.core.transfer.pool import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.core.transfer.pool import Pool

TRIES = 8
GARBLED_TRIES = 3
BACKOFF_S = 0.2
BACKOFF_MAX_S = 20.0
ASKED_MAX_S = 60.0  # a service that wants more has to be asked again
LOST = 6  # requests given up in a row, with none that went well: no more need be tried
AGAIN = "Run the command again when the service answers: what was transferred is not sent twice."

Done = TypeVar("Done")


class Garbled(Exception):
    """Bytes came that are not those of the digest that came with them."""


def tried(pool: Pool, request: Callable[[], Done]) -> Done:
    """Make a request; after a failure that passes again, later and with fewer at once."""
    for number in range(1, TRIES + 1):
        if number > 1:
            gc.collect()  # the failure's frames hold each other, and the bytes of a whole part
        begun_at = time.monotonic()
        try:
            done = request()
        except FATAL:
            raise
        except Garbled as failure:
            if number == GARBLED_TRIES:
                raise Damaged("Its bytes are not those that were saved.") from failure
        except PASSING as failure:
            if number == TRIES and pool.pace.gave_up() >= LOST:
                raise NoAnswer(failure.what, where=failure.where, fix=AGAIN) from failure
            if number == TRIES:
                raise
            pool.pace.went_badly(begun_at)
            _wait(pool, number, failure.asked_wait_s)
        else:
            pool.pace.went_well()
            return done
    raise AssertionError("the last try returns or raises")


def _wait(pool: Pool, number: int, asked_s: float) -> None:
    wait_s = min(BACKOFF_S * 2**number, BACKOFF_MAX_S) * random.uniform(0.5, 1)  # noqa: S311
    if pool.stopped.wait(max(wait_s, min(asked_s, ASKED_MAX_S))):
        raise Stopped
