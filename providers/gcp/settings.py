"""What a Cloud Storage bucket is set to: its name, labels and rules, in Google's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from llmcloud.core.buckets import OURS, BucketInfo
from llmcloud.runtime.bucket_api import LOG_PREFIX
from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from llmcloud.core.buckets import BucketWish

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
LABEL = re.compile(r"[\w-]{0,63}")
ABORT, DELETE = "AbortIncompleteMultipartUpload", "Delete"
LOGS = {"matchesPrefix": [LOG_PREFIX]}


def check(name: str, wish: BucketWish) -> None:
    """Raise InvalidRequest for what Google would refuse, with what it would take."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"Google does not accept {name} as a bucket's name.",
            where=f"gs://{name}",
            fix="3 to 63 small letters, digits and hyphens, with a letter or digit at both ends.",
        )
    for key, value in wish.tags.items():
        is_label = all(LABEL.fullmatch(each) and each == each.lower() for each in (key, value))
        if not is_label or not key[:1].isalpha():
            raise InvalidRequest(
                f"{key}={value} can't be a label of a bucket at Google.",
                where=f"gs://{name}",
                fix="Small letters, digits, _ and -, at most 63; the key begins with a letter.",
            )


def apply(bucket: Any, wish: BucketWish) -> None:
    """Set the SDK's bucket to what is wished; nothing is sent yet."""
    bucket.labels = {**bucket.labels, OURS: "1", **wish.tags}
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.iam_configuration.public_access_prevention = "enforced"
    if wish.versioning:
        bucket.versioning_enabled = True
    others = [rule for rule in map(dict, bucket.lifecycle_rules) if not _is_ours(rule)]
    bucket.lifecycle_rules = [*others, *_rules(wish)]


def info(bucket: Any, *, is_google: bool) -> BucketInfo:
    """Return what the SDK's bucket says of itself; what services like Google's lack is unknown."""
    is_private = bucket.iam_configuration.public_access_prevention == "enforced"
    return BucketInfo(
        url=f"gs://{bucket.name}",
        region=bucket.location.lower(),
        created_at=bucket.time_created.timestamp() if bucket.time_created else None,
        is_ours=OURS in bucket.labels,
        is_private=is_private if is_private or is_google else None,
        is_encrypted=True,  # Google keeps nothing in the clear
        has_versioning=bool(bucket.versioning_enabled),
        tags=bucket.labels,
    )


def _rules(wish: BucketWish) -> list[dict[str, Any]]:
    """Return the rules that a wish amounts to, in Google's words."""
    rules = [{"action": {"type": ABORT}, "condition": {"age": wish.abort_uploads_days}}]
    if wish.expire_logs_days is not None:
        # Of what lies there, logs alone have such a time: rules know no tags.
        condition = {"daysSinceCustomTime": wish.expire_logs_days, **LOGS}
        rules.append({"action": {"type": DELETE}, "condition": condition})
    return rules


def _is_ours(rule: dict[str, Any]) -> bool:
    """Tell whether a rule is one that we make: they have no names."""
    kind, condition = rule["action"]["type"], rule["condition"]
    if kind == ABORT:
        return bool(condition.keys() == {"age"})
    logs = {name: value for name, value in condition.items() if name != "daysSinceCustomTime"}
    return bool(kind == DELETE and len(condition) == 2 and logs == LOGS)
