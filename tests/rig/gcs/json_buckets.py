"""Buckets through the JSON interface."""

from __future__ import annotations

import base64
import copy
from datetime import timedelta

from tests.rig.gcs import errors
from tests.rig.gcs.bucket_rules import check_bucket_name, check_settings, location_type
from tests.rig.gcs.json_call import JsonCall, check_acl, check_storage_class
from tests.rig.gcs.json_policies import new_policy
from tests.rig.gcs.storage import Bucket
from tests.rig.gcs.versions import Resource, now, time_text

PROJECT_NUMBER = "402030201000"
LOCK_DAYS = 90
SOFT_DELETE_S = 7 * 86400
SETTABLE = {
    "cors",
    "encryption",
    "iamConfiguration",
    "labels",
    "lifecycle",
    "softDeletePolicy",
    "storageClass",
    "versioning",
}
SAID = {  # what the service says of a bucket, and passes over when it is sent back
    "etag",
    "generation",
    "id",
    "kind",
    "location",
    "locationType",
    "metageneration",
    "name",
    "projectNumber",
    "rpo",
    "selfLink",
    "timeCreated",
    "updated",
}


def insert(call: JsonCall) -> Resource:
    name, given = call.body["name"], call.body
    call.fake.allow("storage.buckets.create", "")
    check_bucket_name(name)
    location = given.get("location", "US").upper()
    changes = _changes(given)
    with call.storage.lock:
        if name in call.fake.taken:
            raise errors.conflict(
                "The requested bucket name is not available. The bucket namespace is shared by"
                " all users of the system. Please select a different name and try again.",
                "BucketNameUnavailable",
            )
        if name in call.storage.buckets:
            raise errors.conflict(
                "Your previous request to create the named bucket succeeded and you already"
                " own it.",
                "BucketAlreadyOwnedByYou",
            )
        resource = _new_resource(name, location)
        resource["project"] = call.query["project"]
        _change(resource, changes)
        check_acl(call, resource, "predefinedAcl")
        call.storage.buckets[name] = Bucket(name, resource, new_policy(call.query["project"]))
    return _said(call.storage.buckets[name], call)


def _new_resource(name: str, location: str) -> Resource:
    kind, time = location_type(location), time_text(now())
    resource = {
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "projectNumber": PROJECT_NUMBER,
        "generation": str(int(now().timestamp() * 1_000_000)),
        "metageneration": "1",
        "location": location,
        "locationType": kind,
        "storageClass": "STANDARD",
        "timeCreated": time,
        "updated": time,
        "iamConfiguration": {
            "bucketPolicyOnly": {"enabled": False},
            "uniformBucketLevelAccess": {"enabled": False},
            "publicAccessPrevention": "inherited",
        },
        "softDeletePolicy": {
            "retentionDurationSeconds": str(SOFT_DELETE_S),
            "effectiveTime": time,
        },
    }
    return resource if kind == "region" else {**resource, "rpo": "DEFAULT"}


def get(call: JsonCall) -> Resource:
    bucket = call.bucket("storage.buckets.get")
    _check_metageneration(call, bucket, reading=True)
    return _said(bucket, call)


def list_(call: JsonCall) -> Resource:
    call.fake.allow("storage.buckets.list", "")
    prefix, project = call.query.get("prefix", ""), call.query["project"]
    after = base64.urlsafe_b64decode(call.query.get("pageToken", "")).decode()
    limit = min(call.integer("maxResults") or 1000, 1000)
    with call.storage.lock:
        found = [
            bucket
            for name, bucket in sorted(call.storage.buckets.items())
            if name.startswith(prefix) and name > after and bucket.resource["project"] == project
        ]
    said: Resource = {"kind": "storage#buckets"}
    if found:
        said["items"] = [_said(bucket, call) for bucket in found[:limit]]
    if len(found) > limit:
        said["nextPageToken"] = base64.urlsafe_b64encode(found[limit - 1].name.encode()).decode()
    return said


def patch(call: JsonCall) -> Resource:
    """Change what is named; null removes it."""
    changes = _changes(call.body or {})
    bucket = call.bucket("storage.buckets.update")
    with call.storage.lock:
        _check_metageneration(call, bucket, reading=False)
        resource = copy.deepcopy(bucket.resource)
        _change(resource, changes)
        check_acl(call, resource, "predefinedAcl")
        resource["metageneration"] = str(int(resource["metageneration"]) + 1)
        resource["updated"] = time_text(now())
        bucket.resource = resource
    return _said(bucket, call)


def delete(call: JsonCall) -> None:
    bucket = call.bucket("storage.buckets.delete")
    with call.storage.lock:
        _check_metageneration(call, bucket, reading=False)
        if bucket.history:
            message = "The bucket you tried to delete is not empty."
            raise errors.conflict(message, "BucketNotEmpty")
        call.storage.buckets.pop(bucket.name, None)


def _check_metageneration(call: JsonCall, bucket: Bucket, *, reading: bool) -> None:
    wanted, unwanted = (
        call.integer("ifMetagenerationMatch"),
        call.integer("ifMetagenerationNotMatch"),
    )
    current = int(bucket.resource["metageneration"])
    if wanted not in {None, current}:
        raise errors.condition_not_met()
    if unwanted == current:
        raise errors.not_modified() if reading else errors.condition_not_met()


def _changes(given: Resource) -> Resource:
    """Return what is to be set, checked; what the service says itself is passed over."""
    unheard = given.keys() - SETTABLE - SAID
    if any(given[name] is not None for name in unheard):
        raise errors.Unserved(f"buckets with {sorted(unheard)}")
    changes = {name: value for name, value in given.items() if name in SETTABLE}
    check_storage_class(changes.get("storageClass"))
    check_settings(changes)
    return changes


def _change(resource: Resource, changes: Resource) -> None:
    _merge(resource, changes)
    resource.setdefault("storageClass", "STANDARD")
    access = resource["iamConfiguration"]
    given = changes.get("iamConfiguration") or {}
    uniform = given.get("uniformBucketLevelAccess") or given.get("bucketPolicyOnly")
    if uniform:
        enabled = bool(uniform.get("enabled"))
        said: Resource = {"enabled": enabled}
        if enabled:
            said["lockedTime"] = time_text(now() + timedelta(days=LOCK_DAYS))
        access["uniformBucketLevelAccess"], access["bucketPolicyOnly"] = said, dict(said)


def _merge(into: Resource, changes: Resource) -> None:
    for name, value in changes.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = copy.deepcopy(value)


def _said(bucket: Bucket, call: JsonCall) -> Resource:
    said = {name: value for name, value in bucket.resource.items() if name != "project"}
    etag = base64.b64encode(b"\x08" + said["metageneration"].encode()).decode()
    return {**said, "etag": etag, "selfLink": f"{call.request.host}/storage/v1/b/{bucket.name}"}
