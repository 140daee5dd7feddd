"""What goes wrong as a test says: errors, resets, delays, and requests that are held."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.rig.aws.call import Refusal
from tests.rig.gcs.server import Reset

if TYPE_CHECKING:
    from tests.rig.aws.call import Call

HELD_S = 120.0  # at most: then the request goes on
SESSION = "ASIA"  # how the keys of sessions begin


@dataclass
class Rule:
    """A fault: which requests it meets, and what it does before or after they are done.

    Empty `service` and `operation` are any; `key` is part of an S3 key, `number` the request's
    place in the journal (from 1); `machine` tells whether a machine makes it, by its role's keys.
    `skip` are let pass first, then `times` are met; 0 is each one.
    Of `code` (an error of AWS), `reset` and `hold` one is done; `latency_s` beside it.
    """

    service: str = ""
    operation: str = ""
    key: str = ""
    number: int = 0
    machine: bool | None = None
    skip: int = 0
    times: int = 1
    after: bool = False
    code: str = ""
    message: str = "The rig was told to answer so."
    status: int | None = None
    reset: bool = False
    hold: bool = False
    latency_s: float = 0.0
    id: int = field(default_factory=itertools.count(1).__next__)
    met: int = 0

    def meets(self, entry: dict[str, Any], *, after: bool) -> bool:
        return (
            self.after == after
            and (not self.times or self.met < self.times)
            and self.service in {"", entry["service"]}
            and self.operation in {"", entry["operation"]}
            and self.key in entry["key"]
            and self.number in {0, entry["number"]}
            and self.machine in {None, entry["key_id"].startswith(SESSION)}
        )


class Faults:
    """The rules there are, the requests that were made, and those that are held."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.journal: list[dict[str, Any]] = []
        self.held: dict[int, str] = {}
        self._changed = threading.Condition()

    def enter(self, call: Call, bucket: str, key: str) -> dict[str, Any]:
        """Write a request down; return its entry."""
        with self._changed:
            entry = {
                "number": len(self.journal) + 1,
                "time": time.time(),
                "service": call.service,
                "operation": call.operation,
                "region": call.region,
                "key_id": call.scope.key,
                "params": call.params,
                "bucket": bucket,
                "key": key,
                "method": call.request.verb,
                "status": 0,
            }
            self.journal.append(entry)
        return entry

    def meet(self, entry: dict[str, Any], *, after: bool) -> None:
        """Do to a request what the rules say; Refusal or Reset when it ends it."""
        for rule in self._of(entry, after=after):
            if rule.latency_s:
                time.sleep(rule.latency_s)
            if rule.hold and self._hold(entry["number"], after=after) == "drop":
                raise Reset
            if rule.reset:
                raise Reset
            if rule.code:
                raise Refusal(rule.code, rule.message, rule.status)

    def release(self, number: int, fate: str) -> bool:
        """Let a held request go on (`go`), or lose its connection (`drop`)."""
        with self._changed:
            known = number in self.held
            if known:
                self.held[number] = fate
                self._changed.notify_all()
        return known

    def clear(self) -> None:
        with self._changed:
            self.rules.clear()
            for number in self.held:
                self.held[number] = "go"
            self._changed.notify_all()

    def _of(self, entry: dict[str, Any], *, after: bool) -> list[Rule]:
        with self._changed:
            found = []
            for rule in self.rules:
                if not rule.meets(entry, after=after):
                    continue
                if rule.skip:
                    rule.skip -= 1
                    continue
                rule.met += 1
                found.append(rule)
            return found

    def _hold(self, number: int, *, after: bool) -> str:
        with self._changed:
            self.held[number] = "held after" if after else "held before"
            self._changed.notify_all()
            is_free = lambda: not self.held[number].startswith("held")  # noqa: E731
            self._changed.wait_for(is_free, HELD_S)
            return self.held.pop(number)

    def await_held(self, timeout_s: float) -> dict[int, str]:
        """Return the held requests as soon as there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self.held, timeout_s)
            return dict(self.held)
