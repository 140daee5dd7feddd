"""SSM: moto's parameters, with the public ones of the images, and Session Manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.rig.aws import images
from tests.rig.aws.call import ON_TO_MOTO, Service

if TYPE_CHECKING:
    from tests.rig.aws.call import Call
    from tests.rig.aws.session_manager import SessionManager


def service(sessions: SessionManager) -> Service:
    """Return SSM: the images of a region are there once somebody asks for a parameter."""

    def publish(call: Call) -> Any:
        images.publish(call.region)
        return ON_TO_MOTO

    gets = dict.fromkeys(("GetParameter", "GetParameters", "GetParametersByPath"), publish)
    return Service("ssm", "ssm", {**gets, **sessions.operations()}, is_on_moto=True)
