"""What Google refuses of a bucket's name and settings."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from tests.rig.gcs import errors

if TYPE_CHECKING:
    from tests.rig.gcs.versions import Resource

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
LABELS_MAX = 64
REGION = re.compile(r"[A-Z]+-[A-Z]+\d+")
MULTI_REGIONS = {"US", "EU", "ASIA"}
DUAL_REGIONS = {"NAM4", "EUR4", "EUR5", "EUR7", "EUR8", "ASIA1"}
KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
ACTIONS = {"Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"}
ABORT_CONDITIONS = {"age", "matchesPrefix", "matchesSuffix"}


def check_bucket_name(name: str) -> None:
    """Raise for a name against https://cloud.google.com/storage/docs/buckets#naming."""
    parts = name.split(".")
    if (
        not 3 <= len(name) <= (222 if len(parts) > 1 else 63)
        or not NAME.fullmatch(name)
        or not all(1 <= len(part) <= 63 for part in parts)
        or name.startswith("goog")
        or "google" in name
        or "g00gle" in name
        or _is_address(name)
    ):
        raise errors.invalid(f"Invalid bucket name: '{name}'", code="InvalidBucketName")
    if len(parts) > 1:
        message = (
            "The bucket you tried to create requires domain ownership verification. Please see"
            " https://cloud.google.com/storage/docs/naming?hl=en#verification for more details."
        )
        raise errors.Refusal(errors.Words(403, "forbidden", "AccessDenied", message))


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def location_type(location: str) -> str:
    if location in MULTI_REGIONS:
        return "multi-region"
    if location in DUAL_REGIONS:
        return "dual-region"
    if REGION.fullmatch(location):
        return "region"
    raise errors.invalid(
        "The specified location constraint is not valid.", code="InvalidLocationConstraint"
    )


def check_settings(changes: Resource) -> None:
    """Raise for what the schema allows but the service does not."""
    access = changes.get("iamConfiguration") or {}
    prevention = access.get("publicAccessPrevention", "inherited")
    if prevention not in {"inherited", "enforced", "unspecified"}:
        raise errors.invalid(f"Invalid argument: publicAccessPrevention {prevention}.")
    key = (changes.get("encryption") or {}).get("defaultKmsKeyName")
    if key and not KMS_KEY.fullmatch(key):
        raise errors.invalid(f"Malformed Cloud KMS crypto key: {key}")
    _check_labels(changes.get("labels") or {})
    for rule in (changes.get("lifecycle") or {}).get("rule", ()):
        _check_rule(rule)


def _check_labels(labels: Resource) -> None:
    if len(labels) > LABELS_MAX:
        raise errors.invalid(f"Too many labels: at most {LABELS_MAX} are allowed.")
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value or ""):
            raise errors.invalid(f"Invalid label: {key}: {value}")


def _check_rule(rule: Resource) -> None:
    action, condition = rule.get("action", {}), rule.get("condition", {})
    kind = action.get("type")
    if kind not in ACTIONS:
        raise errors.invalid(f"Invalid argument: lifecycle action {kind}.")
    if kind == "SetStorageClass" and "storageClass" not in action:
        raise errors.invalid("A SetStorageClass action needs a storageClass.")
    if not condition:
        raise errors.invalid("A lifecycle management rule needs a condition.")
    if kind == "AbortIncompleteMultipartUpload" and condition.keys() - ABORT_CONDITIONS:
        raise errors.invalid(f"Conditions that {kind} does not support: {sorted(condition)}.")
