"""Uploads in parts through the XML interface: nothing is visible until the last request."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tests.rig.gcs import errors
from tests.rig.gcs.content import Content
from tests.rig.gcs.digests import check_digests
from tests.rig.gcs.media import version_headers
from tests.rig.gcs.server import Response
from tests.rig.gcs.storage import Multipart
from tests.rig.gcs.versions import check_name, now, time_text
from tests.rig.gcs.xml_api import XmlCall, document, fields_of, tags

if TYPE_CHECKING:
    from collections.abc import Callable

XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
PART_MIN_BYTES = 5 << 20
PARTS_MAX = 10_000


def multipart_answer(call: XmlCall) -> Callable[[XmlCall], Response] | None:
    """Return what answers a request about uploads in parts, or None if it is about none."""
    kinds = {name for name in ("uploads", "uploadId", "partNumber") if name in call.query}
    key: tuple[str | bool, ...] = (call.request.verb, bool(call.name), *sorted(kinds))
    answers: dict[tuple[str | bool, ...], Callable[[XmlCall], Response]] = {
        ("POST", True, "uploads"): _start,
        ("PUT", True, "partNumber", "uploadId"): _put_part,
        ("POST", True, "uploadId"): _complete,
        ("DELETE", True, "uploadId"): _abort,
        ("GET", True, "uploadId"): _list_parts,
        ("GET", False, "uploads"): _list_uploads,
    }
    return answers.get(key)


def _start(call: XmlCall) -> Response:
    _check_unconditional(call, "uploads")
    bucket = call.require("storage.multipartUploads.create")
    check_name(call.name)
    upload = Multipart(uuid.uuid4().hex, call.name, fields_of(call.request), now())
    with call.storage.lock:
        bucket.multiparts[upload.id] = upload
    body = tags({"Bucket": bucket.name, "Key": call.name, "UploadId": upload.id})
    return document("InitiateMultipartUploadResult", body, xmlns=XMLNS)


def _put_part(call: XmlCall) -> Response:
    _check_unconditional(call, "partNumber", "uploadId")
    upload = _upload(call, "storage.multipartUploads.create")
    number = call.integer("partNumber") or 0
    if not 1 <= number <= PARTS_MAX:
        raise errors.invalid(f"Part number must be an integer between 1 and {PARTS_MAX}.")
    content = Content.of(call.request.body.pieces())
    check_digests(content, call.request.headers, {})
    with call.storage.lock:
        _upload(call, "storage.multipartUploads.create")  # it may be complete or aborted by now
        upload.parts[number] = (content, now())
    return Response(200, {"ETag": f'"{content.md5_hex}"', "x-goog-hash": content.goog_hash})


def _complete(call: XmlCall) -> Response:
    _check_unconditional(call, "uploadId")
    body = call.request.body.read()
    with call.storage.lock:
        upload = _upload(call, "storage.multipartUploads.create")
        call.allow("storage.objects.create", call.bucket)
        content = Content.joined(_chosen_parts(upload, _listed_parts(body)), composed=False)
        version = call.storage.write(call.bucket, call.name, content, upload.fields)
        del call.storage.bucket(call.bucket).multiparts[upload.id]
    said = {
        "Location": f"{call.request.host}{call.request.path}",
        "Bucket": call.bucket,
        "Key": call.name,
        "ETag": version.xml_etag,
    }
    headers = version_headers(version)
    return document("CompleteMultipartUploadResult", tags(said), headers, xmlns=XMLNS)


def _listed_parts(body: bytes) -> list[tuple[int, str]]:
    """Return the number and the tag of each part that a client names, in its order."""
    try:
        root = ET.fromstring(body)
        return [
            (int(part.findtext("{*}PartNumber", "")), part.findtext("{*}ETag", "").strip('"'))
            for part in root.iterfind("{*}Part")
        ]
    except (ET.ParseError, ValueError):
        raise errors.invalid(
            "The XML you provided was not well-formed or did not validate.", code="MalformedXML"
        ) from None


def _chosen_parts(upload: Multipart, listed: list[tuple[int, str]]) -> list[Content]:
    numbers = [number for number, _ in listed]
    if not listed:
        raise errors.invalid("The upload has no parts.", code="MalformedXML")
    if numbers != sorted(set(numbers)):
        message = "The list of parts was not in ascending order."
        raise errors.invalid(message, code="InvalidPartOrder")
    chosen = [upload.parts[number][0] for number in numbers if number in upload.parts]
    if [part.md5_hex for part in chosen] != [tag for _, tag in listed]:
        message = "One or more of the specified parts could not be found, or its tag is another."
        raise errors.invalid(message, code="InvalidPart")
    if any(part.size < PART_MIN_BYTES for part in chosen[:-1]):
        message = "A part that is not the last is smaller than the minimum of 5 MiB."
        raise errors.invalid(message, code="EntityTooSmall")
    return chosen


def _abort(call: XmlCall) -> Response:
    call.check_known("uploadId")
    with call.storage.lock:
        upload = _upload(call, "storage.multipartUploads.abort")
        del call.storage.bucket(call.bucket).multiparts[upload.id]
    return Response(204)


def _list_parts(call: XmlCall) -> Response:
    call.check_known("uploadId", "max-parts", "part-number-marker")
    after, limit = call.integer("part-number-marker") or 0, _limit(call, "max-parts")
    with call.storage.lock:
        upload = _upload(call, "storage.multipartUploads.listParts")
        parts = sorted((n, *part) for n, part in upload.parts.items() if n > after)
    body = tags({"Bucket": call.bucket, "Key": call.name, "UploadId": upload.id})
    body += tags({"PartNumberMarker": after, "MaxParts": limit})
    body += tags({"IsTruncated": "true" if len(parts) > limit else "false"})
    if len(parts) > limit:
        body += tags({"NextPartNumberMarker": parts[limit - 1][0]})
    for number, content, time in parts[:limit]:
        said = {
            "PartNumber": number,
            "LastModified": time_text(time),
            "ETag": f'"{content.md5_hex}"',
            "Size": content.size,
        }
        body += f"<Part>{tags(said)}</Part>"
    return document("ListPartsResult", body, xmlns=XMLNS)


def _list_uploads(call: XmlCall) -> Response:
    call.check_known("uploads", "prefix", "max-uploads", "key-marker", "upload-id-marker")
    query, limit = call.query, _limit(call, "max-uploads")
    bucket = call.require("storage.multipartUploads.list")
    after = (query.get("key-marker", ""), query.get("upload-id-marker", "~"))
    with call.storage.lock:
        uploads = sorted(bucket.multiparts.values(), key=lambda upload: (upload.name, upload.id))
    prefix = query.get("prefix", "")
    found = [u for u in uploads if u.name.startswith(prefix) and (u.name, u.id) > after]
    body = tags({"Bucket": bucket.name, "KeyMarker": after[0], "Prefix": prefix})
    body += tags({"MaxUploads": limit, "IsTruncated": "true" if len(found) > limit else "false"})
    if len(found) > limit:
        last = found[limit - 1]
        body += tags({"NextKeyMarker": last.name, "NextUploadIdMarker": last.id})
    for upload in found[:limit]:
        said = {
            "Key": upload.name,
            "UploadId": upload.id,
            "StorageClass": bucket.resource["storageClass"],
            "Initiated": time_text(upload.started),
        }
        body += f"<Upload>{tags(said)}</Upload>"
    return document("ListMultipartUploadsResult", body, xmlns=XMLNS)


def _upload(call: XmlCall, permission: str) -> Multipart:
    upload = call.require(permission).multiparts.get(call.query["uploadId"])
    if upload is None or upload.name != call.name:
        raise errors.no_upload()
    return upload


def _limit(call: XmlCall, name: str) -> int:
    return min(call.integer(name) or 1000, 1000)


def _check_unconditional(call: XmlCall, *names: str) -> None:
    """Raise for a condition: Google documents none for uploads in parts."""
    call.check_known(*names)
    asked = [name for name in call.request.headers if name.startswith("x-goog-if-")]
    if asked:
        raise errors.Unserved(f"{asked} with an upload in parts")
