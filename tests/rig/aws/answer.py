"""Answers in the words of each protocol that AWS speaks."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from botocore.exceptions import UnknownServiceError
from moto.core.serialize import XFormedAttributePicker, get_serializer_class
from moto.ec2.responses import EC2Response
from tests.rig.aws.call import MODELS, service_model
from tests.rig.gcs.server import Response

if TYPE_CHECKING:
    from tests.rig.aws.call import Call, Refusal

ALWAYS_PENDING = "RunInstances.Reservation.Instances.Instance.State"  # moto's rule
STATUSES = {  # where it is not 400 and not in the service's model
    "AuthFailure": 401,
    "UnauthorizedOperation": 403,
    "AccessDenied": 403,
    "AccessDeniedException": 400,
    "SignatureDoesNotMatch": 403,
    "InvalidAccessKeyId": 403,
    "InvalidClientTokenId": 403,
    "DryRunOperation": 412,
    "RequestLimitExceeded": 503,
    "Unavailable": 503,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "InternalError": 500,
    "InternalFailure": 500,
    "InsufficientInstanceCapacity": 500,
}


def result(call: Call, value: object) -> Response:
    """Return what an operation gave, as its service's protocol has it."""
    model = call.model
    serializer = get_serializer_class(MODELS.get(call.service, call.service), _protocol(call))
    rules = dict(EC2Response.RESPONSE_KEY_PATH_TO_TRANSFORMER) if call.service == "ec2" else {}
    rules.pop(ALWAYS_PENDING, None)
    picker = XFormedAttributePicker(response_transformers=rules)
    made = serializer(operation_model=model, value_picker=picker).serialize(value)
    return _response(made["status_code"], made["headers"]["Content-Type"], made["body"])


def refused(call: Call, refusal: Refusal) -> Response:
    """Return an error in the service's own form."""
    status = refusal.status or _status(call.service, refusal.code)
    protocol = _protocol(call)
    if protocol == "json":
        said = {"__type": refusal.code, "message": refusal.message}
        return _response(status, "application/x-amz-json-1.1", json.dumps(said))
    kind = "Receiver" if status >= 500 else "Sender"
    words = f"<Code>{escape(refusal.code)}</Code><Message>{escape(refusal.message)}</Message>"
    request_id = uuid.uuid4()
    body = {
        "ec2": f"<Response><Errors><Error>{words}</Error></Errors>"
        f"<RequestID>{request_id}</RequestID></Response>",
        "query": f"<ErrorResponse><Error><Type>{kind}</Type>{words}</Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>",
        "rest-xml": f"<Error>{words}<RequestId>{request_id}</RequestId></Error>",
    }[protocol]
    made = _response(status, "text/xml;charset=UTF-8", f'<?xml version="1.0"?>\n{body}')
    if call.request.verb == "HEAD":
        return Response(made.status, made.headers, size=0)
    return made


def document(value: object, status: int = 200) -> Response:
    """Return JSON, as the control calls do."""
    return _response(status, "application/json", json.dumps(value, default=str))


def _protocol(call: Call) -> str:
    if call.service == "s3":
        return "rest-xml"
    try:
        protocol = str(service_model(call.service).protocol)
    except UnknownServiceError:
        return "json"
    return protocol if protocol in {"ec2", "query"} else "json"


def _status(service: str, code: str) -> int:
    with contextlib.suppress(UnknownServiceError):
        for shape in service_model(service).error_shapes:
            if code in {shape.name, shape.error_code}:
                said: dict[str, Any] = shape.metadata.get("error", {})
                return int(said.get("httpStatusCode", STATUSES.get(code, 400)))
    return STATUSES.get(code, 400)


def _response(status: int, kind: str, body: str) -> Response:
    headers = {"Content-Type": kind, "x-amzn-RequestId": str(uuid.uuid4())}
    return Response(status, headers, (body.encode(),))
