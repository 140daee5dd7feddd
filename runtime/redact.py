"""Takes secrets out of what is printed, also when they come in parts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SHORTEST_SECRET = 4  # shorter ones would blank out ordinary text
HIDDEN = b"***"


class Redactor:
    """Hides secrets in one stream; what may be the beginning of one is held back."""

    def __init__(self, secrets: Iterable[str]) -> None:
        lines = {line.encode() for secret in secrets for line in secret.splitlines()}
        self._secrets = sorted((s for s in lines if len(s) >= SHORTEST_SECRET), key=len)[::-1]
        self._any = re.compile(b"|".join(re.escape(secret) for secret in self._secrets))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown now that `data` has come."""
        if not self._secrets:
            return data
        text, shown, at = self._held + data, b"", 0
        for found in self._any.finditer(text):
            if self._may_go_on(text[found.start() :]):  # to a longer secret
                self._held = text[found.start() :]
                return shown + text[at : found.start()]
            shown += text[at : found.start()] + HIDDEN
            at = found.end()
        begins = self._where_one_may_begin(text, at)
        self._held = text[begins:]
        return shown + text[at:begins]

    def rest(self) -> bytes:
        """Return what was held back; for when nothing can follow."""
        held, self._held = self._held, b""
        return self.whole(held)

    def whole(self, text: bytes) -> bytes:
        """Hide the secrets in a text that is not part of the stream."""
        return self._any.sub(HIDDEN, text) if self._secrets else text

    def _where_one_may_begin(self, text: bytes, at: int) -> int:
        longest = len(self._secrets[0])
        starts = range(max(at, len(text) - longest + 1), len(text))
        return next((i for i in starts if self._may_go_on(text[i:])), len(text))

    def _may_go_on(self, end: bytes) -> bool:
        return any(len(end) < len(secret) and secret.startswith(end) for secret in self._secrets)
