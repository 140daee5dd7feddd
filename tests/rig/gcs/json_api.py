"""The JSON interface: finds the method, checks the request and the answer against the schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.rig.discovery import Call, discovery
from tests.rig.gcs import batch, errors, json_buckets, json_objects, json_policies, uploads
from tests.rig.gcs.json_call import JsonCall
from tests.rig.gcs.json_fields import masked
from tests.rig.gcs.server import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rig.gcs.fake import GcsFake

API = "storage.v1"
TAGS = {"if-match", "if-none-match"}
UNHEARD = ("x-goog-encryption-", "x-goog-copy-source-encryption-")
HEARD_EVERYWHERE = {"alt", "fields", "key", "prettyPrint", "projection", "quotaUser", "uploadType"}


@dataclass(frozen=True)
class Route:
    """What answers a method, and the parameters that it does not pass over in silence."""

    answer: Callable[[JsonCall], Any]
    hears: str = ""


METAGENERATION = "ifMetagenerationMatch ifMetagenerationNotMatch"
CONDITIONS = f"ifGenerationMatch ifGenerationNotMatch {METAGENERATION}"
SOURCE_CONDITIONS = CONDITIONS.replace("if", "ifSource")
ROUTES = {
    "storage.buckets.insert": Route(json_buckets.insert, "project predefinedAcl"),
    "storage.buckets.get": Route(json_buckets.get, METAGENERATION),
    "storage.buckets.list": Route(json_buckets.list_, "project prefix maxResults pageToken"),
    "storage.buckets.patch": Route(json_buckets.patch, f"predefinedAcl {METAGENERATION}"),
    "storage.buckets.delete": Route(json_buckets.delete, METAGENERATION),
    "storage.buckets.getIamPolicy": Route(
        json_policies.get_policy, "optionsRequestedPolicyVersion"
    ),
    "storage.buckets.setIamPolicy": Route(json_policies.set_policy),
    "storage.buckets.testIamPermissions": Route(json_policies.test_permissions, "permissions"),
    "storage.objects.get": Route(json_objects.get, f"generation {CONDITIONS}"),
    "storage.objects.list": Route(
        json_objects.list_,
        "prefix delimiter startOffset endOffset maxResults pageToken versions"
        " includeTrailingDelimiter",
    ),
    "storage.objects.insert": Route(
        uploads.insert, f"name contentEncoding predefinedAcl {CONDITIONS}"
    ),
    "storage.objects.patch": Route(json_objects.patch, f"generation predefinedAcl {CONDITIONS}"),
    "storage.objects.delete": Route(json_objects.delete, f"generation {CONDITIONS}"),
    "storage.objects.compose": Route(
        json_objects.compose,
        "destinationPredefinedAcl ifGenerationMatch ifMetagenerationMatch",
    ),
    "storage.objects.rewrite": Route(
        json_objects.rewrite,
        "sourceGeneration destinationPredefinedAcl rewriteToken"
        f" maxBytesRewrittenPerCall {CONDITIONS} {SOURCE_CONDITIONS}",
    ),
    "storage.objects.copy": Route(
        json_objects.copy,
        f"sourceGeneration destinationPredefinedAcl {CONDITIONS} {SOURCE_CONDITIONS}",
    ),
}


def answer(fake: GcsFake, request: Request) -> Response:
    """Answer one request, or raise what it is refused with."""
    if request.path.startswith("/batch/"):
        return batch.answer(request, fake.answer)
    if any(name == "upload_id" for name, _ in request.query):
        return uploads.resume(fake, request)
    call = discovery(API).find(request.verb, request.path)
    if call is None:
        raise errors.Unserved(f"{request.verb} {request.path}")
    is_upload = request.path.startswith("/upload/")
    body = None if is_upload else _parsed(request)
    _check_request(call, request, body)
    route = ROUTES.get(call.id)
    unheard = {name for name, _ in request.query} - HEARD_EVERYWHERE
    unheard -= set(route.hears.split()) if route else set()
    if call.id != "storage.objects.get":
        unheard |= TAGS & request.headers.keys()
    unheard |= {name for name in request.headers if name.startswith(UNHEARD)}
    if route is None or unheard:
        raise errors.Unserved(f"{call.id} with {sorted(unheard)}")
    said = route.answer(JsonCall(fake, request, call, body))
    return said if isinstance(said, Response) else _response(fake, call, said, request)


def _parsed(request: Request) -> Any:
    body = request.body.read()
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise errors.invalid("Parse Error", reason="parseError") from None


def _check_request(call: Call, request: Request, body: object) -> None:
    problems = discovery(API).request_problems(call, request.query, body)
    if problems:
        reason = "required" if problems[0].endswith(" is missing") else "invalid"
        raise errors.invalid("; ".join(problems), reason=reason)


def _response(fake: GcsFake, call: Call, said: Any, request: Request) -> Response:
    for problem in discovery(API).response_problems(call, said):
        fake.report(f"{call.id} was answered against the schema: {problem}")
    if said is None:
        return Response(204)
    wanted = dict(request.query).get("fields")
    body = json.dumps(masked(said, wanted) if wanted else said).encode()
    return Response(200, {"Content-Type": "application/json; charset=UTF-8"}, (body,))
