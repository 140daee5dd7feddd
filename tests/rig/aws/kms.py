"""KMS: moto's keys, of which those behind AWS's own aliases are AWS's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.kms.models import kms_backends
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import ON_TO_MOTO, Service

if TYPE_CHECKING:
    from tests.rig.aws.call import Call

OF_AWS = "alias/aws/"


def service() -> Service:
    return Service("kms", "kms", {"DescribeKey": describe}, is_on_moto=True)


def describe(call: Call) -> Any:
    """Let moto answer, once it knows whose its keys are."""
    for key in kms_backends[ACCOUNT][call.region].keys.values():
        if any(alias.startswith(OF_AWS) for alias in key.aliases):
            key.key_manager = "AWS"
    return ON_TO_MOTO
