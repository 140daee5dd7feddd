"""SSM's parameters: moto's, with the public ones of the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.rig.aws import images
from tests.rig.aws.call import ON_TO_MOTO, Service

if TYPE_CHECKING:
    from tests.rig.aws.call import Call


def service() -> Service:
    """Return SSM: the images of a region are there once somebody asks for a parameter."""

    def publish(call: Call) -> Any:
        images.publish(call.region)
        return ON_TO_MOTO

    operations = dict.fromkeys(("GetParameter", "GetParameters", "GetParametersByPath"), publish)
    return Service("ssm", "ssm", operations, is_on_moto=True)
