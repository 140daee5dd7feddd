"""What Azure and its SDK raise, as Failures: decided by code and exception class."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from llmcloud.core.meaning import NO_OBJECT, Meaning, asked_wait_s, by_class
from llmcloud.providers.azure.codes import CLASSES, CODES, FAILED, REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.runtime.errors import Failure


@contextlib.contextmanager
def translated(url: str, key: str = "") -> Iterator[None]:
    """Raise a Failure for whatever the SDK raises in the block."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except (AzureError, UnicodeDecodeError) as error:
        raise translate(error, url, key) from error


def translate(error: Any, url: str, key: str = "") -> Failure:
    """Return the Failure that an exception of the SDK's stands for."""
    said = {
        "account": url.removeprefix("az://").partition("/")[0],
        "class": type(error).__name__,
        "error": str(error).partition("\n")[0].rstrip("."),
    }
    if (response := getattr(error, "response", None)) is None:
        return _raised(error).failure(url, key, **said)
    meaning, said["code"] = _answered(error)
    made = meaning.failure(url, key, **said)
    made.asked_wait_s = asked_wait_s(response.headers)
    return made


def code_of(error: Any) -> str:
    """Return the code of an answer of the service's, or nothing."""
    code = getattr(error, "error_code", None)
    if code is None and getattr(error, "error", None) is not None:  # the Resource Manager's
        code = error.error.code
    if code is None and error.response is not None:  # one of many answers in one
        code = error.response.headers.get("x-ms-error-code")
    return str(getattr(code, "value", code) or "")


def _answered(error: Any) -> tuple[Meaning, str]:
    """Return what an answer means, and its code: without a body, its status."""
    status, code = int(error.status_code or 0), code_of(error)
    meaning = CODES.get(code) or CODES.get(str(status))
    if meaning is None and status == 404:
        meaning = NO_OBJECT
    elif meaning is None and 400 <= status < 500:
        meaning = REFUSED
    return meaning or FAILED, code or str(status)


def _raised(error: BaseException) -> Meaning:
    """Return what an exception without an answer means, or else the one that it came of."""
    causes = [error, *_causes(error)]
    found = (by_class(CLASSES, cause) for cause in reversed(causes))
    return next(filter(None, found), CLASSES["AzureError"])


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what the HTTP library raised, which lies in arguments and reasons."""
    inner = getattr(error, "inner_exception", None) or getattr(error, "reason", None)
    if not isinstance(inner, BaseException):
        inner = next((each for each in error.args if isinstance(each, BaseException)), None)
    if inner is not None:
        yield inner
        yield from _causes(inner)
