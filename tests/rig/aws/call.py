"""One request to AWS, as the fakes see it: whose it is, which operation, with which parameters."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.utils import get_service_model
from tests.rig.aws.account import REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moto.core.model import OperationModel, ServiceModel
    from tests.rig.gcs.server import Request

MODELS = {  # signing name: botocore's folder, where they differ
    "servicequotas": "service-quotas",
    "tagging": "resourcegroupstaggingapi",
}
UNSIGNED = {"AssumeRoleWithWebIdentity": "sts", "AssumeRoleWithSAML": "sts"}
ALGORITHM = "AWS4-HMAC-SHA256"
ON_TO_MOTO = object()


class Refusal(Exception):
    """What AWS would answer instead: its error code, what it says, and the status."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Scope:
    """What a signature says of itself; nothing in it was checked."""

    key: str = ""
    region: str = REGION
    service: str = ""


@dataclass
class Call:
    """A request for one operation; `params` are as boto3 would take them, empty for S3.

    `sent` is the request as it was signed: in `request`, S3's bucket is always in the path.
    """

    request: Request
    scope: Scope
    operation: str
    body: bytes = b""
    sent: Request = None  # type: ignore[assignment]
    params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sent = self.sent or self.request

    @property
    def service(self) -> str:
        return self.scope.service

    @property
    def region(self) -> str:
        return self.scope.region

    @property
    def model(self) -> OperationModel:
        return service_model(self.service).operation_model(self.operation)


@dataclass(frozen=True)
class Service:
    """A service of ours, or what we do in front of moto's: by its signing name.

    An operation is given the call and returns what boto3 will return, ON_TO_MOTO when that shall
    answer after all, or raises Refusal. What is not among the operations goes to moto when
    `is_on_moto`, else it is refused and the test fails.
    `host` is how its host name begins: `ec2` of ec2.us-east-1.amazonaws.com.
    """

    name: str
    host: str
    operations: Mapping[str, Callable[[Call], Any]]
    is_on_moto: bool = False


@functools.cache
def service_model(service: str) -> ServiceModel:
    """Return botocore's model of a service, by its signing name."""
    return get_service_model(MODELS.get(service, service))


def scope_of(request: Request) -> Scope:
    """Say who asks which service: by the signature, without one it is S3 or STS, by the host."""
    authorization = request.headers.get("authorization", "")
    credential = dict(request.query).get("X-Amz-Credential", "")
    if authorization.startswith(ALGORITHM):
        credential = authorization.partition("Credential=")[2].partition(",")[0]
    key, _, rest = credential.partition("/")
    words = rest.split("/")  # date, region, service, aws4_request
    if len(words) == 4:
        return Scope(key, words[1], words[2])
    labels = request.headers.get("host", "").partition(":")[0].removesuffix(".amazonaws.com")
    names = labels.split(".")
    region = names[-1] if "-" in names[-1] else REGION
    return Scope("", region, "sts" if names[0] == "sts" else "s3")


def parsed(request: Request) -> Call:
    """Read a request whole, unless it is for S3."""
    scope = scope_of(request)
    if scope.service == "s3" and not _is_form(request):
        return Call(request, scope, "")
    body = request.body.read()
    form = dict(parse_qsl(body.decode(), keep_blank_values=True)) if _is_form(request) else {}
    form |= dict(request.query)
    target = request.headers.get("x-amz-target", "")
    operation = form.get("Action", "") or target.rpartition(".")[2]
    if not scope.key and operation in UNSIGNED:
        scope = Scope("", scope.region, UNSIGNED[operation])
    call = Call(request, scope, operation, body)
    call.params = _params(call, form)
    return call


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    return kind.startswith("application/x-www-form-urlencoded") and request.verb == "POST"


def _params(call: Call, form: dict[str, str]) -> dict[str, Any]:
    model = service_model(call.service)
    if call.operation not in model.operation_names:
        raise Refusal(
            "InvalidAction", f"The action {call.operation} is not valid for this web service."
        )
    parser = PROTOCOL_PARSERS[str(model.protocol)](model.operation_model(call.operation))
    said: dict[str, Any] = {"values": form, "body": call.body}
    return dict(parser.parse(said))
