"""The request that makes a machine by itself, as a value: the same for a plan and for a create."""

from __future__ import annotations

import hashlib
import shlex
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws.machine_request import template
from llmcloud.providers.aws.network import tagged

if TYPE_CHECKING:
    from llmcloud.core.instances import Ask
    from llmcloud.providers.aws.machine_request import Where


def run_instances(ask: Ask, where: Where) -> dict[str, Any]:
    """Return the parameters of RunInstances."""
    made = template(ask.offer, ask.spec, where)
    if ask.offer.spot:
        made["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            },
        }
        made["TagSpecifications"].append(tagged("spot-instances-request", where.tags))
    return {**made, "MinCount": 1, "MaxCount": 1, "ClientToken": _token(ask, where)}


def user_data(ask: Ask) -> str:
    """Return what the machine runs when it first boots: what ends it when its time is over."""
    expires = ask.expires_epoch_s
    if expires is None:
        return "#!/bin/sh\n# This machine does not expire.\n"
    written = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%d %H:%M:%S")
    body = (resources.files("llmcloud.templates") / "boot" / "instance.sh").read_text()
    title = "# Ends this machine when its time is over."
    return f"#!/bin/sh\n{title}\nEXPIRES={shlex.quote(written)}\n{body}"


def _token(ask: Ask, where: Where) -> str:
    """Return what makes RunInstances idempotent.

    The group is the machine's own and goes with it: the next machine of this name has another one.
    """
    return hashlib.sha256(f"{ask.spec.name} {where.group} {ask.zone}".encode()).hexdigest()
