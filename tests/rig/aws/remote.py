"""The control calls of a cloud in another process; control.py says which there are."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

TIMEOUT_S = 130.0


class Refused(Exception):
    """The cloud does not know this call, or what it said."""


class Remote:
    """One cloud by its URL. `https` needs a context that trusts the rig's authority."""

    def __init__(self, url: str, context: Any = None) -> None:
        self._url = f"{url}/_rig"
        self._context = context

    def get(self, name: str, **query: object) -> Any:
        return self._ask("GET", f"{name}?{urlencode(query)}", None)

    def post(self, name: str, said: object = None, /, **named: object) -> Any:
        return self._ask("POST", name, named if said is None else said)

    def delete(self, name: str) -> Any:
        return self._ask("DELETE", name, None)

    def calls(self) -> list[tuple[str, str]]:
        """Return what was asked so far: service and operation of each request."""
        return [(each["service"], each["operation"]) for each in self.get("requests")]

    def _ask(self, verb: str, path: str, said: object) -> Any:
        body = None if said is None else json.dumps(said).encode()
        request = urllib.request.Request(f"{self._url}/{path}", body, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context) as got:
                return json.load(got)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.read().decode()) from error
