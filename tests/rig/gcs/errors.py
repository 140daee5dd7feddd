"""Google's refusals: one value, which each of the two interfaces puts in its own words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Words:
    """What a refusal says: `reason` is the JSON interface's code, `code` the XML interface's."""

    status: int
    reason: str
    code: str
    message: str
    details: str = ""
    location: tuple[str, str] | None = None


class Refusal(Exception):
    """A request that is answered with an error, of which the fake itself is innocent."""

    def __init__(self, words: Words) -> None:
        super().__init__(words.message)
        self.words = words


class Unserved(Exception):
    """What the fake does not do: answered with 501, and the test that asked for it fails."""


def json_body(words: Words) -> bytes:
    error = {"message": words.details or words.message, "domain": "global", "reason": words.reason}
    if words.location:
        error["locationType"], error["location"] = words.location
    body = {"code": words.status, "message": error["message"], "errors": [error]}
    return json.dumps({"error": body}).encode()


def xml_body(words: Words) -> bytes:
    details = f"<Details>{escape(words.details)}</Details>" if words.details else ""
    return (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<Error><Code>{words.code}</Code><Message>{escape(words.message)}</Message>"
        f"{details}</Error>"
    ).encode()


def invalid(message: str, *, code: str = "InvalidArgument", reason: str = "invalid") -> Refusal:
    return Refusal(Words(400, reason, code, message))


def no_bucket() -> Refusal:
    message = "The specified bucket does not exist."
    return Refusal(Words(404, "notFound", "NoSuchBucket", message))


def no_object(bucket: str, name: str) -> Refusal:
    message = "The specified key does not exist."
    return Refusal(
        Words(404, "notFound", "NoSuchKey", message, details=f"No such object: {bucket}/{name}")
    )


def no_upload() -> Refusal:
    message = "The requested upload was not found."
    return Refusal(Words(404, "notFound", "NoSuchUpload", message))


def condition_not_met() -> Refusal:
    message = "At least one of the pre-conditions you specified did not hold."
    location = ("header", "If-Match")
    return Refusal(Words(412, "conditionNotMet", "PreconditionFailed", message, location=location))


def not_modified() -> Refusal:
    return Refusal(Words(304, "notModified", "NotModified", "Not Modified"))


def conflict(message: str, code: str) -> Refusal:
    return Refusal(Words(409, "conflict", code, message))


def forbidden(permission: str, account: str) -> Refusal:
    kind = "bucket" if permission.startswith("storage.buckets.") else "object"
    message = (
        f"{account} does not have {permission} access to the Google Cloud Storage {kind}."
        f" Permission '{permission}' denied on resource (or it may not exist)."
    )
    return Refusal(Words(403, "forbidden", "AccessDenied", "Access denied.", details=message))


def no_credentials() -> Refusal:
    message = "Anonymous caller does not have access. Authentication is required."
    where = ("header", "Authorization")
    return Refusal(Words(401, "required", "AuthenticationRequired", message, location=where))


def bad_credentials() -> Refusal:
    where = ("header", "Authorization")
    words = Words(
        401,
        "authError",
        "AuthenticationRequired",
        "Authentication required.",
        details="Invalid Credentials",
        location=where,
    )
    return Refusal(words)


def wrong_digest(kind: str, given: str, found: str) -> Refusal:
    message = f'Provided {kind} "{given}" doesn\'t match calculated {kind} "{found}".'
    said = "The Content-MD5 or x-goog-hash you specified did not match what we received."
    return Refusal(Words(400, "invalid", "BadDigest", said, details=message))


def range_not_satisfiable() -> Refusal:
    message = "The requested range cannot be satisfied."
    return Refusal(Words(416, "requestedRangeNotSatisfiable", "InvalidRange", message))
