"""What AWS and its SDK raise, as Failures: decided by code and exception class."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcloud.core.meaning import NO_OBJECT, Meaning, asked_wait_s, by_class
from llmcloud.providers.aws.codes import (
    CLASSES,
    CLASSES_OF_S3,
    CODES,
    FAILED,
    OF_TRIALS,
    REFUSED,
    TRIED_OUT,
)
from llmcloud.providers.aws.permissions import needed_for
from llmcloud.runtime.errors import NoCapacity, QuotaExceeded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from llmcloud.runtime.errors import Failure

S3 = "s3://"
ASK_ELSEWHERE = 400
SAID = 300  # characters of what a service says
ENCODED = "Encoded authorization failure message"  # what follows is long, and not for everyone
SOME_QUOTA = "the quota: llmcloud doctor aws names it, asked about the accelerator"


@dataclass(frozen=True)
class Refusal:
    """An answer that is an error; `action` is what policies call the operation."""

    code: str
    action: str
    service: str = "S3"
    status: int = 0
    message: str = ""

    @classmethod
    def of(cls, error: Any) -> Refusal:
        """Return what an exception of the SDK's says."""
        said = error.response.get("ResponseMetadata", {})
        prefix = said.get("ServicePrefix", "s3")
        return cls(
            code=code_of(error),
            action=needed_for(prefix, error.operation_name),
            service=said.get("Service", "S3"),
            status=said.get("HTTPStatusCode", 0),
            message=str(error.response["Error"].get("Message") or ""),
        )

    @property
    def said(self) -> str:
        """Return the message as the end of a sentence, or nothing."""
        words = " ".join(self.message.partition(ENCODED)[0].split()).rstrip(" .")
        return f": {words[:SAID]}" if words else ""


@contextlib.contextmanager
def translated(where: str, key: str = "", quota: str = SOME_QUOTA) -> Iterator[None]:
    """Raise a Failure for whatever the SDK raises in the block, or an answer lacks.

    `where` names the bucket's URL (and `key` the object), or the region and what is asked for
    there; `quota` is what to raise where that would help.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError, KeyError) as error:
        raise translate(error, where, key, quota) from error


@contextlib.contextmanager
def tolerated(codes: Collection[str]) -> Iterator[None]:
    """Pass over an answer of one of these codes, and what would come after it in the block.

    What was made before, or deleted, is no error: within `translated`.
    """
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if code_of(error) not in codes:
            raise


def translate(error: Any, where: str, key: str = "", quota: str = SOME_QUOTA) -> Failure:
    """Return the Failure that an exception of the SDK's stands for."""
    if response := getattr(error, "response", None):
        made = failure(Refusal.of(error), where, key, quota)
        made.asked_wait_s = asked_wait_s(
            response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        )
        return made
    is_s3 = where.startswith(S3)
    meaning = (by_class(CLASSES_OF_S3, error) if is_s3 else None) or by_class(CLASSES, error)
    meaning = meaning or Meaning(Unavailable, "The AWS SDK failed: {error}.")
    said = " ".join(str(error).split()).rstrip(".")
    service = "S3" if is_s3 else "AWS"
    return meaning.failure(where, key, code=type(error).__name__, error=said, service=service)


def failure(refusal: Refusal, where: str, key: str = "", quota: str = SOME_QUOTA) -> Failure:
    """Return the Failure that a code stands for, or else the status of its answer."""
    code, status = refusal.code, refusal.status
    meaning = _of_trial(refusal) or CODES.get(code) or CODES.get(str(status))
    if meaning is None and status == 404:
        meaning = NO_OBJECT
    elif meaning is None and 400 <= status < 500:
        meaning = REFUSED
    return (meaning or FAILED).failure(
        where,
        key,
        code=code or status,
        operation=refusal.action,
        service=refusal.service,
        said=refusal.said,
        quota=quota,
    )


def _of_trial(refusal: Refusal) -> Meaning | None:
    """Return what Auto Scaling says of a template that it has tried out, if that is told."""
    code, beginning = TRIED_OUT
    if refusal.code != code or not refusal.message.startswith(beginning):
        return None
    found = (meaning for words, meaning in OF_TRIALS.items() if words.search(refusal.message))
    return next(found, None)


def code_of(error: Any) -> str:
    """Return the code of an answer of the service's."""
    return str(error.response["Error"].get("Code", ""))


def ask_elsewhere(response: Any, **_: object) -> None:
    """Keep the SDK from asking again for what another place may have: a hook before its own.

    EC2 says with status 500 that it has none of these machines, as it says that it has failed.
    """
    if response is None:
        return
    http, parsed = response
    meaning = CODES.get(str(parsed.get("Error", {}).get("Code", "")))
    if meaning and issubclass(meaning.kind, (NoCapacity, QuotaExceeded)):
        http.status_code = ASK_ELSEWHERE


def name_service(parsed: dict[str, Any], model: Any, **_: object) -> None:
    """Leave in an answer which service's it is: the SDK calls it, its exceptions don't tell."""
    its = model.service_model
    said = parsed.setdefault("ResponseMetadata", {})
    said["Service"], said["ServicePrefix"] = its.service_id, its.signing_name
