"""The fake as a whole: who may ask, which interface answers, and what the test must hear of."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.rig.gcs import errors, json_api, xml_api, xml_multipart
from tests.rig.gcs.server import Request, Response, Server
from tests.rig.gcs.storage import Storage
from tests.rig.gcs.uploads import Sessions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

JSON_PATHS = ("/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/", "/batch/storage/v1")
BEARER = "Bearer "


class GcsFake:
    """Google Cloud Storage on 127.0.0.1, in memory, for as long as the `with` block.

    At its end it fails the test if it was asked what it does not do, or said what Google's own
    schema does not allow; `problems` has them before that. What a test may set at any time:
    `tokens` (None: anyone may ask; else a request must bear one of them), `denied` (permissions
    such as `storage.buckets.create` that the caller lacks), `taken` (bucket names that are
    somebody else's), and `account`, the name that refusals give the caller.
    """

    def __init__(self, port: int = 0, *, tokens: Iterable[str] | None = None) -> None:
        self.storage = Storage()
        self.sessions = Sessions()
        self.tokens = None if tokens is None else set(tokens)
        self.denied: set[str] = set()
        self.taken: set[str] = set()
        self.account = "trainer@project.iam.gserviceaccount.com"
        self.problems: list[str] = []
        self._lock = threading.Lock()
        self._server = Server(port, self.answer)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> GcsFake:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if kind is None:
            assert not self.problems, "\n".join(self.problems)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def answer(self, request: Request) -> Response:
        """Answer any request, in the words of the interface that it is for."""
        is_json = request.path.startswith(JSON_PATHS)
        try:
            self._check_token(request)
            return self._answer_json(request) if is_json else self._answer_xml(request)
        except errors.Refusal as refusal:
            return _refused(refusal.words, request, is_json=is_json)
        except errors.Unserved as unserved:
            self.report(f"not served by this fake: {unserved}")
            words = errors.Words(501, "notImplemented", "NotImplemented", str(unserved))
            return _refused(words, request, is_json=is_json)
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            self.report(f"bug of this fake: {request.verb} {request.path}: {error!r}")
            words = errors.Words(501, "notImplemented", "NotImplemented", repr(error))
            return _refused(words, request, is_json=is_json)

    def report(self, problem: str) -> None:
        """Keep what makes the test fail at its end."""
        with self._lock:
            self.problems.append(problem)

    def allow(self, permission: str, bucket: str) -> None:
        """Raise what Google answers when the caller lacks a permission."""
        if permission in self.denied or bucket in self.taken:
            raise errors.forbidden(permission, self.account)

    def _check_token(self, request: Request) -> None:
        tokens = self.tokens
        if tokens is None:
            return
        authorization = request.headers.get("authorization", "")
        if not authorization:
            raise errors.no_credentials()
        if authorization.removeprefix(BEARER) not in tokens:
            raise errors.bad_credentials()

    def _answer_json(self, request: Request) -> Response:
        return json_api.answer(self, request)

    def _answer_xml(self, request: Request) -> Response:
        bucket, name = xml_api.split_path(request.path)
        call = xml_api.XmlCall(self.storage, request, bucket, name, self.allow)
        if special := xml_multipart.multipart_answer(call):
            return special(call)
        return xml_api.answer_object(call) if name else xml_api.answer_bucket(call)


def _refused(words: errors.Words, request: Request, *, is_json: bool) -> Response:
    if words.status == 304:
        return Response(304)
    body = errors.json_body(words) if is_json else errors.xml_body(words)
    kind = "application/json; charset=UTF-8" if is_json else "application/xml; charset=UTF-8"
    headers = {"Content-Type": kind}
    if request.verb == "HEAD":
        return Response(words.status, headers, size=len(body))
    return Response(words.status, headers, (body,))
