"""Calls that hear no Ctrl-C, made such that the one who waits for them does."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Done = TypeVar("Done")


def interruptible(call: Callable[[], Done]) -> Done:
    """Make a call; in the main thread, where Ctrl-C would wait for its end, from another one."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    return begun(call).result()


def begun(call: Callable[[], Done]) -> Future[Done]:
    """Begin a call in another thread, which nobody has to wait for."""
    done: Future[Done] = Future()
    threading.Thread(target=_run, args=(call, done), daemon=True).start()
    return done


def _run(call: Callable[[], Done], done: Future[Done]) -> None:
    try:
        done.set_result(call())
    except BaseException as failure:  # noqa: BLE001 - raised again where it is waited for
        done.set_exception(failure)
