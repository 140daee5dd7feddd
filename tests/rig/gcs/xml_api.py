"""The XML interface, as obstore and google-cloud-storage's parallel uploads speak it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tests.rig.gcs import errors
from tests.rig.gcs.content import Content
from tests.rig.gcs.digests import check_digests
from tests.rig.gcs.media import HEADERS, download, version_headers
from tests.rig.gcs.server import Request, Response, parsed_int
from tests.rig.gcs.storage import Bucket, Page, Storage
from tests.rig.gcs.versions import Conditions, Resource, Version, time_of, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

XMLNS = "http://doc.s3.amazonaws.com/2006-03-01"
KEYS_MAX = 1000
HEADERS_KNOWN = {
    "x-goog-if-generation-match",
    "x-goog-if-metageneration-match",
    "x-goog-copy-source",
    "x-goog-copy-source-generation",
    "x-goog-copy-source-if-generation-match",
    "x-goog-copy-source-if-metageneration-match",
    "x-goog-metadata-directive",
    "x-goog-custom-time",
    "x-goog-storage-class",
    "x-goog-hash",
    "x-goog-user-project",
    "x-goog-api-client",
}
UNHEARD = ("x-goog-", "x-amz-", "if-modified-since", "if-unmodified-since")


@dataclass(frozen=True)
class XmlCall:
    """A request, and what its path says; `allow` raises if the caller lacks a permission."""

    storage: Storage
    request: Request
    bucket: str
    name: str
    allow: Callable[[str, str], None]

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query)

    def integer(self, name: str) -> int | None:
        value = self.query.get(name)
        return None if value is None else parsed_int(name, value)

    def require(self, permission: str) -> Bucket:
        """Return the bucket to a caller who has the permission."""
        self.allow(permission, self.bucket)
        return self.storage.bucket(self.bucket)

    def check_known(self, *names: str) -> None:
        """Raise for a parameter or header that would be passed over in silence."""
        unknown = [name for name in self.query if name not in names]
        unknown += [
            name
            for name in self.request.headers
            if name.startswith(UNHEARD)
            and not name.startswith("x-goog-meta-")
            and name not in HEADERS_KNOWN
        ]
        if unknown:
            raise errors.Unserved(f"{self.request.verb} {self.request.path}: {unknown}")


def split_path(path: str) -> tuple[str, str]:
    """Return the bucket and the object that a path names."""
    bucket, _, name = path.removeprefix("/").partition("/")
    return unquote(bucket), unquote(name)


def answer_bucket(call: XmlCall) -> Response:
    match call.request.verb:
        case "GET" if call.query.get("list-type") == "2":
            return _list(call)
        case "HEAD":
            call.check_known()
            call.require("storage.buckets.get")
            return Response()
    raise errors.Unserved(f"{call.request.verb} {call.request.path} {call.request.query}")


def answer_object(call: XmlCall) -> Response:
    match call.request.verb:
        case "GET" | "HEAD":
            return _get(call)
        case "PUT" if "x-goog-copy-source" in call.request.headers:
            return _copy(call)
        case "PUT":
            return _put(call)
        case "DELETE":
            return _delete(call)
    raise errors.Unserved(f"{call.request.verb} {call.request.path} {call.request.query}")


def _get(call: XmlCall) -> Response:
    call.check_known("generation")
    bucket = call.require("storage.objects.get")
    with call.storage.lock:
        version = bucket.get(call.name, call.integer("generation"))
    conditions(call.request).check(version, reading=True)
    return download(call.request, version)


def _put(call: XmlCall) -> Response:
    call.check_known()
    call.require("storage.objects.create")
    content = Content.of(call.request.body.pieces())
    check_digests(content, call.request.headers, {})
    version = call.storage.write(
        call.bucket, call.name, content, fields_of(call.request), conditions(call.request)
    )
    return Response(200, version_headers(version))


def _copy(call: XmlCall) -> Response:
    call.check_known()
    call.require("storage.objects.create")
    headers = call.request.headers
    source_bucket, source_name = split_path(headers["x-goog-copy-source"])
    call.allow("storage.objects.get", source_bucket)
    with call.storage.lock:
        generation = call.request.header_int("x-goog-copy-source-generation")
        source = call.storage.bucket(source_bucket).get(source_name, generation)
        Conditions(
            call.request.header_int("x-goog-copy-source-if-generation-match"),
            metageneration=call.request.header_int("x-goog-copy-source-if-metageneration-match"),
        ).check(source)
        replaced = headers.get("x-goog-metadata-directive", "COPY") == "REPLACE"
        version = call.storage.write(
            call.bucket,
            call.name,
            source.content,
            fields_of(call.request) if replaced else source.fields,
            conditions(call.request),
        )
    body = tags({"LastModified": time_text(version.updated), "ETag": version.xml_etag})
    return document("CopyObjectResult", body, version_headers(version))


def _delete(call: XmlCall) -> Response:
    call.check_known("generation")
    call.require("storage.objects.delete")
    generation = call.integer("generation")
    call.storage.delete(call.bucket, call.name, generation, conditions(call.request))
    return Response(204)


def _list(call: XmlCall) -> Response:
    query = call.query
    known = "list-type prefix delimiter start-after continuation-token max-keys"
    call.check_known(*known.split())
    bucket = call.require("storage.objects.list")
    limit = min(call.integer("max-keys") or KEYS_MAX, KEYS_MAX)
    token = query.get("continuation-token")
    after = base64.urlsafe_b64decode(token).decode() if token else query.get("start-after", "")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    with call.storage.lock:
        listing = bucket.listing(Page(prefix, delimiter, after=after, limit=limit))
    body = tags({"Name": bucket.name, "Prefix": prefix, "Delimiter": delimiter})
    body += tags({"KeyCount": len(listing.versions) + len(listing.prefixes), "MaxKeys": limit})
    body += tags({"IsTruncated": "true" if listing.next else "false"})
    if listing.next:
        next_token = base64.urlsafe_b64encode(listing.next.encode()).decode()
        body += tags({"NextContinuationToken": next_token})
    body += "".join(map(_contents, listing.versions))
    body += "".join(
        f"<CommonPrefixes>{tags({'Prefix': each})}</CommonPrefixes>" for each in listing.prefixes
    )
    return document("ListBucketResult", body)


def _contents(version: Version) -> str:
    said = {
        "Key": version.name,
        "Generation": version.generation,
        "MetaGeneration": version.metageneration,
        "LastModified": time_text(version.updated),
        "ETag": version.xml_etag,
        "Size": version.content.size,
    }
    return f"<Contents>{tags(said)}</Contents>"


def conditions(request: Request) -> Conditions:
    return Conditions(
        request.header_int("x-goog-if-generation-match"),
        metageneration=request.header_int("x-goog-if-metageneration-match"),
    )


def fields_of(request: Request) -> Resource:
    """Return an object's metadata from the headers of what uploads it."""
    headers = request.headers
    fields: Resource = {
        name: headers[header.lower()]
        for name, header in HEADERS.items()
        if header.lower() in headers
    }
    metadata = {
        name.removeprefix("x-goog-meta-"): value
        for name, value in headers.items()
        if name.startswith("x-goog-meta-")
    }
    if metadata:
        fields["metadata"] = metadata
    if "customTime" in fields:
        fields["customTime"] = time_of(fields["customTime"])
    if "x-goog-storage-class" in headers:
        fields["storageClass"] = headers["x-goog-storage-class"]
    return fields


def document(
    root: str, body: str, headers: dict[str, str] | None = None, xmlns: str = XMLNS
) -> Response:
    text = f"<?xml version='1.0' encoding='UTF-8'?><{root} xmlns='{xmlns}'>{body}</{root}>"
    said = {**(headers or {}), "Content-Type": "application/xml; charset=UTF-8"}
    return Response(200, said, (text.encode(),))


def tags(values: Mapping[str, object]) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in values.items())
