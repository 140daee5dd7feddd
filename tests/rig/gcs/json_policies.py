"""Who may do what with a bucket, through the JSON interface: kept, and checked for its form."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from tests.rig.gcs import errors

if TYPE_CHECKING:
    from tests.rig.gcs.json_call import JsonCall
    from tests.rig.gcs.storage import Bucket
    from tests.rig.gcs.versions import Resource

ROLE = re.compile(r"((projects|organizations)/[\w-]+/)?roles/[\w.]+")
PUBLIC = {"allUsers", "allAuthenticatedUsers"}


def new_policy(project: str) -> Resource:
    owners = [f"projectEditor:{project}", f"projectOwner:{project}"]
    bindings = [
        {"role": "roles/storage.legacyBucketOwner", "members": owners},
        {"role": "roles/storage.legacyBucketReader", "members": [f"projectViewer:{project}"]},
    ]
    return {"kind": "storage#policy", "version": 1, "bindings": bindings}


def get_policy(call: JsonCall) -> Resource:
    return _policy(call.bucket("storage.buckets.getIamPolicy"))


def set_policy(call: JsonCall) -> Resource:
    bucket = call.bucket("storage.buckets.setIamPolicy")
    with call.storage.lock:
        given = call.body or {}
        if given.get("etag") not in {None, _policy(bucket)["etag"]}:
            raise errors.condition_not_met()
        for binding in given.get("bindings", ()):
            _check_binding(bucket, binding)
        bucket.policy = {
            **bucket.policy,
            "bindings": given.get("bindings", []),
            "version": given.get("version", 1),
            "changes": bucket.policy.get("changes", 0) + 1,
        }
    return _policy(bucket)


def _check_binding(bucket: Bucket, binding: Resource) -> None:
    if not re.fullmatch(
        r"(roles|projects/[\w-]+/roles|organizations/\d+/roles)/[\w.]+", binding["role"]
    ):
        raise errors.invalid(f"Invalid role {binding['role']}.")
    prevention = bucket.resource["iamConfiguration"]["publicAccessPrevention"]
    if prevention == "enforced" and PUBLIC & set(binding["members"]):
        words = errors.condition_not_met().words
        message = (
            "The member bindings allUsers and allAuthenticatedUsers are not allowed since"
            " public access prevention is enforced."
        )
        raise errors.Refusal(errors.Words(412, words.reason, words.code, message))


def _policy(bucket: Bucket) -> Resource:
    said = {name: value for name, value in bucket.policy.items() if name != "changes"}
    changes = bucket.policy.get("changes", 0) + 1
    etag = base64.b64encode(b"\x08" + bytes([changes % 256])).decode()
    return {**said, "resourceId": f"projects/_/buckets/{bucket.name}", "etag": etag}


def test_permissions(call: JsonCall) -> Resource:
    bucket = call.storage.bucket(call.path["bucket"])
    asked = [value for name, value in call.request.query if name == "permissions"]
    granted = [each for each in asked if each not in call.fake.denied]
    said: Resource = {"kind": "storage#testIamPermissionsResponse"}
    if granted and bucket.name not in call.fake.taken:
        said["permissions"] = granted
    return said
