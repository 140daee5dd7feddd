"""What Google and its SDK raise, as Failures: decided by status, code and exception class."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmcloud.core.meaning import GONE, NO_OBJECT, by_class
from llmcloud.providers.gcp.codes import CLASSES, CODES, FAILED, REFUSED, STATUSES
from llmcloud.runtime.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmcloud.core.meaning import Meaning
    from llmcloud.runtime.errors import Failure


@dataclass(frozen=True)
class Asked:
    """What a request was about; `needs` is the permission that Google wants for it.

    `specially` has what a status means there, whatever the code.
    """

    url: str
    key: str = ""
    needs: str = "storage.objects.get"
    specially: Mapping[int, Meaning] = field(default_factory=dict)


@contextlib.contextmanager
def translated(
    url: str,
    key: str = "",
    needs: str = "storage.objects.get",
    specially: Mapping[int, Meaning] | None = None,
) -> Iterator[None]:
    """Raise a Failure for whatever the SDK raises in the block, which needs a permission."""
    try:
        yield
    except _of_the_sdk() as error:
        raise translate(error, Asked(url, key, needs, specially or {})) from error


def _of_the_sdk() -> tuple[type[Exception], ...]:
    """Return what the SDK raises; imported when something was, as it takes a while."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    return GoogleAPIError, GoogleAuthError, RequestException


def translate(error: Any, asked: Asked) -> Failure:
    """Return the Failure that an exception of the SDK's stands for."""
    error = getattr(error, "cause", None) or error  # it was tried again for too long
    if status := getattr(error, "code", None):
        return failure(int(status), reason_of(error), asked, error.message)
    name = type(error).__name__
    meaning = by_class(CLASSES, error) or FAILED
    if getattr(error, "retryable", False) and issubclass(meaning.kind, CredentialsError):
        meaning = CLASSES["TransportError"]
    return _made(meaning, asked, name, str(error.args[0]) if error.args else name)


def failure(status: int, code: str, asked: Asked, message: str = "") -> Failure:
    """Return the Failure that a code stands for, or else the status of its answer."""
    meaning = asked.specially.get(status) or CODES.get(code) or STATUSES.get(status)
    if meaning is None and status == 404:
        meaning = NO_OBJECT if asked.key else GONE
    elif meaning is None and 400 <= status < 500:
        meaning = REFUSED
    return _made(meaning or FAILED, asked, code or str(status), message)


def reason_of(error: Any) -> str:
    """Return the code of an answer of the JSON interface's."""
    return str(error.errors[0].get("reason", "")) if error.errors else ""


def _made(meaning: Meaning, asked: Asked, code: str, message: str) -> Failure:
    reason = message.rstrip(".") or "no reason is given"
    return meaning.failure(asked.url, asked.key, code=code, needs=asked.needs, message=reason)
