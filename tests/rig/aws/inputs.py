"""A request's parameters against the service's own model, in the service's own error codes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from tests.rig.aws import schema
from tests.rig.aws.call import Refusal

if TYPE_CHECKING:
    from moto.core.model import StructureShape
    from tests.rig.aws.call import Call

ENVELOPE = {"Action", "Version"}
CODES = {"ec2": "InvalidParameterValue", "query": "ValidationError", "json": "ValidationException"}
MISSING = {"ec2": "MissingParameter", "query": "ValidationError", "json": "ValidationException"}
CHECKS_ITSELF = {"sagemaker"}


def check(call: Call) -> None:
    """Raise Refusal for what the model does not allow."""
    shape = call.model.input_shape
    if shape is None or call.service in CHECKS_ITSELF:
        return
    protocol = str(call.model.service_model.protocol)
    if protocol == "ec2":
        _check_known(call, shape)
    found = schema.problems(shape, call.params)
    if not found:
        return
    code = (MISSING if "Member must not be null" in found[0] else CODES)[protocol]
    raise Refusal(code, schema.failed(found))


def _check_known(call: Call, shape: StructureShape) -> None:
    known = {_sent_name(name, each.serialization) for name, each in shape.members.items()}
    for key, _ in parse_qsl(call.body.decode()):
        if key.partition(".")[0] not in known | ENVELOPE:
            raise Refusal("UnknownParameter", f"The parameter {key} is not recognized")


def _sent_name(name: str, serialization: dict[str, str]) -> str:
    """Return a member's name on the wire, as EC2's protocol has it."""
    sent = serialization.get("queryName") or serialization.get("name") or name
    return sent[0].upper() + sent[1:]
