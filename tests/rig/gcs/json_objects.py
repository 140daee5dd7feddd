"""Objects through the JSON interface, all but their upload."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.rig.gcs import errors
from tests.rig.gcs.content import Content
from tests.rig.gcs.json_call import JsonCall, check_acl, object_resource, settable_fields
from tests.rig.gcs.media import check_tags, download
from tests.rig.gcs.storage import Page
from tests.rig.gcs.versions import Resource, Version, now

if TYPE_CHECKING:
    from tests.rig.gcs.server import Response

COMPONENTS_MAX = 32
PAGE_MAX = 1000


def get(call: JsonCall) -> Resource | Response:
    bucket = call.bucket("storage.objects.get")
    with call.storage.lock:
        version = bucket.get(call.path["object"], call.integer("generation"))
    call.conditions().check(version, reading=True)
    if call.query.get("alt") == "media":
        return download(call.request, version)
    check_tags(call.request, version)
    return object_resource(version, call.request.host)


def list_(call: JsonCall) -> Resource:
    query = call.query
    bucket = call.bucket("storage.objects.list")
    page = Page(
        query.get("prefix", ""),
        query.get("delimiter", ""),
        query.get("startOffset", ""),
        base64.urlsafe_b64decode(query.get("pageToken", "")).decode(),
        query.get("endOffset", ""),
        min(call.integer("maxResults") or PAGE_MAX, PAGE_MAX),
        call.flag("versions"),
        call.flag("includeTrailingDelimiter"),
    )
    with call.storage.lock:
        listing = bucket.listing(page)
    said: Resource = {"kind": "storage#objects"}
    if listing.versions:
        said["items"] = [object_resource(each, call.request.host) for each in listing.versions]
    if listing.prefixes:
        said["prefixes"] = listing.prefixes
    if listing.next:
        said["nextPageToken"] = base64.urlsafe_b64encode(listing.next.encode()).decode()
    return said


def delete(call: JsonCall) -> None:
    bucket = call.bucket("storage.objects.delete")
    generation = call.integer("generation")
    call.storage.delete(bucket.name, call.path["object"], generation, call.conditions())


def patch(call: JsonCall) -> Resource:
    """Change metadata: null removes a field, and in `metadata` one of its keys."""
    bucket = call.bucket("storage.objects.update")
    check_acl(call, bucket.resource, "predefinedAcl")
    changes = settable_fields(call.body)
    removed = {name for name, value in (call.body or {}).items() if value is None}
    with call.storage.lock:
        version = bucket.get(call.path["object"], call.integer("generation"))
        call.conditions().check(version)
        fields = {name: value for name, value in version.fields.items() if name not in removed}
        if "metadata" in changes:
            merged = {**fields.get("metadata", {}), **changes["metadata"]}
            changes["metadata"] = {k: v for k, v in merged.items() if v is not None}
        changed = replace(
            version,
            fields={**fields, **changes},
            metageneration=version.metageneration + 1,
            updated=now(),
        )
        bucket.change(changed)
    return object_resource(changed, call.request.host)


def compose(call: JsonCall) -> Resource:
    bucket = call.bucket("storage.objects.create", "destinationBucket")
    check_acl(call, bucket.resource, "destinationPredefinedAcl")
    call.fake.allow("storage.objects.get", bucket.name)
    wanted = call.body["sourceObjects"]
    if not 1 <= len(wanted) <= COMPONENTS_MAX:
        raise errors.invalid(
            f"The number of source components provided ({len(wanted)}) exceeds the maximum"
            f" ({COMPONENTS_MAX}) or is zero."
        )
    if call.body.get("deleteSourceObjects"):
        raise errors.Unserved("compose with deleteSourceObjects")
    name = call.path["destinationObject"]
    fields = settable_fields(call.body.get("destination"))
    with call.storage.lock:
        sources = [_source(call, bucket.name, each) for each in wanted]
        if "contentType" not in fields and "contentType" in sources[0].fields:
            fields["contentType"] = sources[0].fields["contentType"]
        content = Content.joined([each.content for each in sources], composed=True)
        version = call.storage.write(bucket.name, name, content, fields, call.conditions())
    return object_resource(version, call.request.host)


def _source(call: JsonCall, bucket: str, wanted: Resource) -> Version:
    generation = wanted.get("generation")
    version = call.storage.bucket(bucket).get(
        wanted["name"], int(generation) if generation else None
    )
    expected = wanted.get("objectPreconditions", {}).get("ifGenerationMatch")
    if expected is not None and int(expected) != version.generation:
        raise errors.condition_not_met()
    return version


def rewrite(call: JsonCall) -> Resource:
    """Copy in one call: Google may take several, which a client can't count on."""
    version = _copied(call)
    return {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": str(version.content.size),
        "objectSize": str(version.content.size),
        "done": True,
        "resource": object_resource(version, call.request.host),
    }


def copy(call: JsonCall) -> Resource:
    return object_resource(_copied(call), call.request.host)


def _copied(call: JsonCall) -> Version:
    target = call.bucket("storage.objects.create", "destinationBucket")
    check_acl(call, target.resource, "destinationPredefinedAcl")
    source_bucket = call.bucket("storage.objects.get", "sourceBucket")
    with call.storage.lock:
        source = source_bucket.get(call.path["sourceObject"], call.integer("sourceGeneration"))
        call.conditions("ifSource").check(source)
        fields = settable_fields(call.body) or {
            name: value for name, value in source.fields.items() if name != "kmsKeyName"
        }
        return call.storage.write(
            target.name, call.path["destinationObject"], source.content, fields, call.conditions()
        )
