"""What AWS and its SDK raise, as Failures: decided by code and exception class."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from llmcloud.core.meaning import NO_OBJECT, Meaning, asked_wait_s, by_class
from llmcloud.providers.aws.codes import CLASSES, CODES, FAILED, REFUSED
from llmcloud.runtime.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.runtime.errors import Failure


@contextlib.contextmanager
def translated(url: str, key: str = "") -> Iterator[None]:
    """Raise a Failure for whatever the SDK raises in the block, or an answer lacks."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError, KeyError) as error:
        raise translate(error, url, key) from error


def translate(error: Any, url: str, key: str = "") -> Failure:
    """Return the Failure that an exception of the SDK's stands for."""
    if response := getattr(error, "response", None):
        said = response.get("ResponseMetadata", {})
        status = said.get("HTTPStatusCode", 0)
        made = failure(code_of(error), url, key, f"s3:{error.operation_name}", status)
        made.asked_wait_s = asked_wait_s(said.get("HTTPHeaders", {}))
        return made
    meaning = by_class(CLASSES, error) or Meaning(Unavailable, "The AWS SDK failed: {error}.")
    return meaning.failure(url, key, code=type(error).__name__, error=str(error).rstrip("."))


def failure(code: str, url: str, key: str, operation: str, status: int = 0) -> Failure:
    """Return the Failure that a code stands for, or else the status of its answer."""
    meaning = CODES.get(code) or CODES.get(str(status))
    if meaning is None and status == 404:
        meaning = NO_OBJECT
    elif meaning is None and 400 <= status < 500:
        meaning = REFUSED
    return (meaning or FAILED).failure(url, key, code=code or status, operation=operation)


def code_of(error: Any) -> str:
    """Return the code of an answer of the service's."""
    return str(error.response["Error"].get("Code", ""))
