"""An object's bytes as an answer, the same for both interfaces: ranges, digests, gzip."""

from __future__ import annotations

import gzip
import re
from email.utils import format_datetime
from typing import TYPE_CHECKING

from tests.rig.gcs import errors
from tests.rig.gcs.server import Request, Response

if TYPE_CHECKING:
    from tests.rig.gcs.versions import Version

RANGE = re.compile(r"bytes=(\d*)-(\d*)")
HEADERS = {
    "cacheControl": "Cache-Control",
    "contentDisposition": "Content-Disposition",
    "contentEncoding": "Content-Encoding",
    "contentLanguage": "Content-Language",
    "contentType": "Content-Type",
    "customTime": "x-goog-custom-time",
}


def download(request: Request, version: Version) -> Response:
    """Return the bytes that a GET asks for, or for a HEAD their size."""
    check_tags(request, version)
    headers = media_headers(version)
    encoded = version.fields.get("contentEncoding") == "gzip"
    if encoded and "gzip" not in request.headers.get("accept-encoding", ""):
        return _decompressed(request, version, headers)
    size = version.content.size
    found = RANGE.fullmatch(request.headers.get("range", ""))
    start, stop = _bounds(found, size) if found else (0, size)
    status = 200
    if found and found[0] != "bytes=-":
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    if request.verb == "HEAD":
        return Response(status, headers, size=stop - start)
    return Response(status, headers, version.content.slices(start, stop))


def media_headers(version: Version) -> dict[str, str]:
    """Return what both interfaces say of an object in headers."""
    fields = version.fields
    headers = {HEADERS[name]: value for name, value in fields.items() if name in HEADERS}
    headers.setdefault("Content-Type", "application/octet-stream")
    metadata = {f"x-goog-meta-{name}": value for name, value in fields.get("metadata", {}).items()}
    return {
        **headers,
        **metadata,
        **version_headers(version),
        "Last-Modified": format_datetime(version.updated, usegmt=True),
        "Accept-Ranges": "bytes",
    }


def version_headers(version: Version) -> dict[str, str]:
    """Return what tells one generation from another, as an upload is answered too."""
    return {
        "ETag": version.xml_etag,
        "x-goog-generation": str(version.generation),
        "x-goog-metageneration": str(version.metageneration),
        "x-goog-hash": version.content.goog_hash,
        "x-goog-stored-content-encoding": version.fields.get("contentEncoding", "identity"),
        "x-goog-stored-content-length": str(version.content.size),
        "x-goog-storage-class": version.fields["storageClass"],
    }


def _bounds(found: re.Match[str], size: int) -> tuple[int, int]:
    first, last = found[1], found[2]
    if not first and not last:
        return 0, size
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        raise errors.range_not_satisfiable()
    return start, stop


def check_tags(request: Request, version: Version) -> None:
    """Raise what Google answers when the tag is not the wanted one; either kind of tag will do."""
    tags = {version.xml_etag.strip('"'), version.etag, "*"}
    wanted, unwanted = request.headers.get("if-match"), request.headers.get("if-none-match")
    if wanted and not tags & _tags(wanted):
        raise errors.condition_not_met()
    if unwanted and tags & _tags(unwanted):
        raise errors.not_modified()


def _tags(value: str) -> set[str]:
    return {each.strip().removeprefix("W/").strip('"') for each in value.split(",")}


def _decompressed(request: Request, version: Version, headers: dict[str, str]) -> Response:
    """Google unpacks what is stored as gzip for those who don't say that they can; no ranges."""
    data = gzip.decompress(version.content.whole())
    del headers["Content-Encoding"], headers["Accept-Ranges"]
    headers["Warning"] = "214 UploadServer gunzipped"
    if request.verb == "HEAD":
        return Response(200, headers, size=len(data))
    return Response(200, headers, (data,))
