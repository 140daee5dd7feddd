"""Uploads through the JSON interface: in one request, or in a session that can be resumed."""

from __future__ import annotations

import json
import re
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.rig.discovery import discovery
from tests.rig.gcs import errors
from tests.rig.gcs.content import Content
from tests.rig.gcs.digests import check_digests
from tests.rig.gcs.json_call import JsonCall, check_acl, object_resource, settable_fields
from tests.rig.gcs.server import Interrupted, Request, Response
from tests.rig.gcs.versions import Conditions, Resource, Version, check_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rig.gcs.fake import GcsFake
    from tests.rig.gcs.storage import Storage

QUANTUM_BYTES = 256 << 10
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
BOUNDARY = re.compile(r'boundary="?([^";]+)"?')


@dataclass(frozen=True)
class Upload:
    """What an upload is to become; `declared` may hold the digests of its metadata."""

    bucket: str
    name: str
    fields: Resource
    declared: Resource
    conditions: Conditions

    def write(self, storage: Storage, content: Content, headers: dict[str, str]) -> Version:
        check_digests(content, headers, self.declared)
        return storage.write(self.bucket, self.name, content, self.fields, self.conditions)


@dataclass
class Session:
    """A resumable upload; what has arrived stays although the connection that brought it is cut."""

    upload: Upload
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    version: Version | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def append(self, offset: int, piece: bytes) -> int:
        """Add a piece that begins at an offset, or what is new of it; return where it ends."""
        with self.lock:
            new = piece[max(self.size - offset, 0) :]
            if new and offset <= self.size:
                self.pieces.append(new)
                self.size += len(new)
            return offset + len(piece)

    def keep_whole_quanta(self) -> None:
        """Forget what Google has not persisted of an upload that goes on."""
        with self.lock:
            data = b"".join(self.pieces[-2:])
            self.pieces[-2:] = [data[: len(data) - self.size % QUANTUM_BYTES]]
            self.size -= self.size % QUANTUM_BYTES


class Sessions:
    """The resumable uploads that were begun; a cancelled one is None."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session | None] = {}
        self._lock = threading.Lock()

    def add(self, session: Session) -> str:
        with self._lock:
            name = uuid.uuid4().hex
            self._sessions[name] = session
            return name

    def get(self, name: str) -> Session | None:
        with self._lock:
            if name not in self._sessions:
                raise errors.no_upload()
            return self._sessions[name]

    def cancel(self, name: str) -> None:
        with self._lock:
            self._sessions[name] = None


def insert(call: JsonCall) -> Resource | Response:
    """Store what the request brings, or begin a session."""
    bucket = call.bucket("storage.objects.create")
    check_acl(call, bucket.resource, "predefinedAcl")
    match call.query.get("uploadType"):
        case "media":
            upload = _upload(call, {}, call.request.headers.get("content-type"))
            content = Content.of(call.request.body.pieces())
        case "multipart":
            metadata, kind, data = _related_parts(call.request)
            upload = _upload(call, metadata, kind)
            content = Content.of([data])
        case "resumable":
            return _begin(call)
        case other:
            raise errors.invalid(f"Invalid upload type: {other}")
    version = upload.write(call.storage, content, call.request.headers)
    return object_resource(version, call.request.host)


def _begin(call: JsonCall) -> Response:
    headers = call.request.headers
    body = call.request.body.read()
    metadata = _metadata(body) if body else {}
    upload = _upload(call, metadata, headers.get("x-upload-content-type"))
    with call.storage.lock:
        upload.conditions.check(call.storage.bucket(upload.bucket).find(upload.name))
    name = call.fake.sessions.add(Session(upload))
    path = f"{call.request.path}?uploadType=resumable&upload_id={name}"
    return Response(200, {"Location": f"{call.request.host}{path}", "X-GUploader-UploadID": name})


def _upload(call: JsonCall, metadata: Resource, content_type: str | None) -> Upload:
    problems = discovery("storage.v1").request_problems(call.call, call.request.query, metadata)
    if problems:
        raise errors.invalid("; ".join(problems))
    fields = settable_fields(metadata)
    if content_type:
        fields.setdefault("contentType", content_type)
    if "contentEncoding" in call.query:
        fields["contentEncoding"] = call.query["contentEncoding"]
    name: str = call.query.get("name") or metadata.get("name") or ""
    check_name(name)
    return Upload(call.path["bucket"], name, fields, metadata, call.conditions())


def _metadata(body: bytes) -> Resource:
    try:
        metadata = json.loads(body)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise errors.invalid("Parse Error", reason="parseError")
    return metadata


def _related_parts(request: Request) -> tuple[Resource, str | None, bytes]:
    """Return the metadata, the content's type and the content of a multipart/related body."""
    found = BOUNDARY.search(request.headers.get("content-type", ""))
    body = request.body.read()
    parts = list(_parts(body, b"--" + found[1].encode())) if found else []
    if len(parts) != 2:
        raise errors.invalid("Missing or wrong parts of a multipart body.", reason="badContent")
    (_, metadata), (headers, data) = parts
    kind = re.search(rb"(?im)^content-type:\s*(.+?)\s*$", headers)
    return _metadata(metadata), kind[1].decode() if kind else None, data


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = body.find(boundary)
    while start >= 0:
        end = body.find(b"\r\n" + boundary, start)
        if end < 0:
            return
        headers, _, data = body[start + len(boundary) : end].partition(b"\r\n\r\n")
        yield headers, data
        start = end + 2


def resume(fake: GcsFake, request: Request) -> Response:
    """Take up a session: add to it, ask how far it is, or cancel it."""
    name = dict(request.query)["upload_id"]
    session = fake.sessions.get(name)
    if session is None or request.verb == "DELETE":
        fake.sessions.cancel(name)
        return Response(499)
    fake.allow("storage.objects.create", session.upload.bucket)
    given = request.headers.get("content-range", "bytes 0-/*")
    found = CONTENT_RANGE.fullmatch(given)
    if found is None and given != "bytes 0-/*":
        raise errors.invalid(f"Failed to parse Content-Range header: {given}.")
    brings_data = found is None or found[1]
    if session.version is None and brings_data and (late := _receive(session, request, found)):
        return late
    whole = found is None or found[3] == str(session.size)
    if session.version is None and not whole:
        return _incomplete(session)
    version = _finish(fake, session, request)
    body = json.dumps(object_resource(version, request.host)).encode()
    return Response(200, {"Content-Type": "application/json; charset=UTF-8"}, (body,))


def _receive(session: Session, request: Request, found: re.Match[str] | None) -> Response | None:
    offset = int(found[1]) if found else 0
    if offset > session.size:
        text = (
            "Invalid request.  According to the Content-Range header, the upload offset is"
            f" {offset} byte(s), which exceeds already uploaded size of {session.size} byte(s)."
        )
        return Response(503, {"Content-Type": "text/plain; charset=utf-8"}, (text.encode(),))
    size = int(found[2]) + 1 - offset if found else None
    last = found is None or found[3] == str(int(found[2]) + 1)
    if not last and size is not None and size < QUANTUM_BYTES:
        raise errors.invalid(
            "Invalid request.  The number of bytes uploaded is required to be equal or greater"
            f" than {QUANTUM_BYTES}, except for the final request (it's recommended to be the"
            f" exact multiple of {QUANTUM_BYTES}).  The received request contained {size} bytes,"
            " which does not meet this requirement."
        )
    end = offset
    try:
        for piece in request.body.pieces(QUANTUM_BYTES):
            end = session.append(end, piece)
    except (Interrupted, ConnectionError):
        session.keep_whole_quanta()
        raise
    if not last:
        session.keep_whole_quanta()
    return None


def _incomplete(session: Session) -> Response:
    headers = {"Range": f"bytes=0-{session.size - 1}"} if session.size else {}
    return Response(308, headers)


def _finish(fake: GcsFake, session: Session, request: Request) -> Version:
    """Make the object of a session that is whole; once, however often it is asked for."""
    with session.lock:
        if session.version is None:
            content = Content.of(session.pieces)
            session.version = session.upload.write(fake.storage, content, request.headers)
            session.pieces = []
        return session.version
